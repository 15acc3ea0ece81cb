"""Several processes that take requests, and one that owns all that there is one of.

The front is the process that an operator started: outbox, delivery, pages, metrics. Its
workers have the port. Between the front and each worker are two pairs of sockets without
a name, so that nobody else can speak there: over one the worker's committer hands groups
of requests to the front and waits for what became of them, over the other the front
speaks (`report`, `use`, `drain`, `end`) and the worker answers. Whoever of the two dies,
the system closes its sockets, and the other one notices at once.
"""
