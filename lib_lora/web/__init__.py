"""What is answered over HTTP besides gradio's pages: REST, live pieces, files, and who may ask."""
