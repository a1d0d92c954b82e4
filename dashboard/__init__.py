"""The page and the endpoints, in Gradio. Imports engine; never torch, transformers or precompute."""
