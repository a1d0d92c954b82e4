"""Ordinary charts: values of the engine in, Plotly figures and table forms out."""
