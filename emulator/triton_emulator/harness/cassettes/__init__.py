"""Cassettes: what a real server has answered, in files that a person can review, and that can be replayed.

How it works
------------
A cassette is a folder. `cassette.yaml` has its format and where the recordings come from. `http` and `grpc` have a file
for each operation and model, with one YAML document for each exchange, in the order in which they ended. Large tensors
and answers are in `tensors`, in files that are named by the SHA-256 of their bytes.

Everything is appended and written through to the disk: what a file has is never changed. A document ends with a line
`...`, so a reader sees where the writer was interrupted. Files of `tensors` come first, under another name until they
are whole.

Recordings are found by what a request means (`Meaning`): its tensors, whatever their form was, and the values that it
asks with. Of several with one meaning the first request gets the first, and so on; the last one stays.

    meaning     what a request asks for, from an entry of the journal or from a recording
    pieces      bytes and tensors as values of YAML, and back
    documents   documents of YAML
    recording   an exchange as a document of YAML, and back
    writing     a recorder: entries of the journal into the files of a cassette
    reading     the files of a cassette into recordings
    player      which recording answers a request, and what is nearest where none does
"""
