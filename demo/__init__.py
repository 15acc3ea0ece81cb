"""Run the whole path on real parts: Triton, Prometheus and the receiver.

`make run` and the end-to-end tests share it.
"""
