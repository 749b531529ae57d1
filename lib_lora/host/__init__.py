"""Hosts: whoever owns the loaded model. `base` says what a host gives, the other files are one host each."""
