"""What a person can ask for, once: plain objects in, plain objects out; terminal, REST and panels stand on it."""
