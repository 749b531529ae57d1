"""The panels inside a WebUI: accordion, tabs, settings page."""
