"""Virtual keys: what each may do and has used, where they are kept, who may manage them."""
