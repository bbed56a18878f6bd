"""What a test can do with a server beyond asking it: faults on purpose, and a journal of what was asked.

How it works
------------
A `Harness` belongs to one session. It has a journal, in which every request leaves an `JournalEntry`, and plans, each
of which is a fault with the requests that it is for.

A frontend asks the harness at two places. When it has read a request and knows its operation it opens an entry
(`Harness.open`), which may come with a `Script`: the fault of the plan that the request met, made for this one request.
When the last byte of the answer is about to be sent it closes the entry. The data plane asks the entry's script where a
model would answer otherwise (`inference`), the frontends where the wire does.

A session without a harness costs a request one comparison. The journal keeps references to what the frontends have
read and written, and decodes nothing until a test looks at it.

    operations    the names of what can be asked, and which protocols have them
    fault         the public functions that make faults
    parts         the parts of a fault: values, and the pure functions over answers that they stand for
    criteria      which requests a plan or a question is for
    plans         a fault with its criteria, its number of times, and what became of it
    journal       an entry for each request, bounded by number and by bytes
    requests      the journal as a test sees it
    arguments     errors for arguments that there are not
    near_miss     the entries that come nearest to a request that was not found, field by field
"""
