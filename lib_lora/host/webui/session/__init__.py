"""Work of ours on the host's model: in its queue, shown in its page, and everything put back afterwards."""
