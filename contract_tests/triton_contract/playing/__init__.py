"""Playing a case against one server: its steps in order, and an observation of everything that came back."""
