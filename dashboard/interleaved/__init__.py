"""What was measured on interleaved models over many clips, as charts and tables; knows no model and no Gradio."""
