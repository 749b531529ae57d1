"""Settings of sd-scripts and of the kohya_ss GUI read as ours, and ours written as sd-scripts' command."""
