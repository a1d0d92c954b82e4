"""Colours, sizes and fonts as Gradio theme tokens; `style.css` does the layout with the same names.

Fonts are the system's own, so nothing is fetched. Contrast of every text token is at least 4.5:1.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

STYLE = Path(__file__).parent / "style.css"


def theme() -> gr.themes.Base:
    """Return the theme for `launch`: light and dark, flat cards, compact controls."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
    base = gr.themes.Base(
        font=fonts,
        font_mono=["ui-monospace", "Consolas", "monospace"],
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_sm,
        text_size=gr.themes.sizes.text_sm,
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.gray,
    )
    return base.set(**_surfaces(), **_texts(), **_controls(), **_buttons())


def _both(light: dict[str, str], dark: dict[str, str]) -> dict[str, str]:
    return {**light, **{f"{name}_dark": value for name, value in dark.items()}}


def _surfaces() -> dict[str, str]:
    return _both(
        {
            "body_background_fill": "#fbfbfa",
            "background_fill_primary": "#ffffff",
            "background_fill_secondary": "#f4f4f2",
            "block_background_fill": "#ffffff",
            "border_color_primary": "#e4e4e1",
            "block_border_color": "#e4e4e1",
            "panel_background_fill": "#ffffff",
            "color_accent_soft": "#e8eef8",
        },
        {
            "body_background_fill": "#121416",
            "background_fill_primary": "#1a1d20",
            "background_fill_secondary": "#1e2225",
            "block_background_fill": "#1a1d20",
            "border_color_primary": "#2d3135",
            "block_border_color": "#2d3135",
            "panel_background_fill": "#1a1d20",
            "color_accent_soft": "#22303f",
        },
    ) | {
        "block_border_width": "0px",
        "block_shadow": "none",
        "block_padding": "0px",
        "layout_gap": "10px",
        "form_gap_width": "0px",
        "block_label_border_width": "0px",
        "panel_border_width": "0px",
    }


def _texts() -> dict[str, str]:
    names = ("body_text_color", "table_text_color")
    quiet = (
        "body_text_color_subdued",
        "block_info_text_color",
        "block_label_text_color",
        "block_title_text_color",
        "accordion_text_color",
        "input_placeholder_color",
    )
    light = dict.fromkeys(names, "#1d1f21") | dict.fromkeys(quiet, "#5a5f64") | {"link_text_color": "#2456a6"}
    dark = dict.fromkeys(names, "#e8e8e6") | dict.fromkeys(quiet, "#abb0b5") | {"link_text_color": "#7aa7ee"}
    return _both(light, dark) | {
        "block_title_text_size": "12.5px",
        "block_title_text_weight": "400",
        "block_label_text_size": "12.5px",
        "block_label_text_weight": "400",
        "block_label_background_fill": "transparent",
        "block_label_background_fill_dark": "transparent",
        "block_title_background_fill": "transparent",
    }


def _controls() -> dict[str, str]:
    return _both(
        {
            "input_background_fill": "#ffffff",
            "input_border_color": "#d5d5d1",
            "slider_color": "#2456a6",
            "color_accent": "#2456a6",
            "input_border_color_focus": "#2456a6",
            "checkbox_background_color_selected": "#2456a6",
            "checkbox_border_color_selected": "#2456a6",
            "checkbox_border_color": "#8a8f94",
            "checkbox_label_background_fill": "transparent",
            "checkbox_label_background_fill_selected": "transparent",
            "checkbox_label_text_color": "#1d1f21",
        },
        {
            "input_background_fill": "#15181a",
            "input_border_color": "#3a3f44",
            "slider_color": "#7aa7ee",
            "input_border_color_focus": "#7aa7ee",
            "checkbox_background_color_selected": "#4a7fd0",
            "checkbox_border_color_selected": "#7aa7ee",
            "checkbox_border_color": "#80868c",
            "checkbox_label_background_fill": "transparent",
            "checkbox_label_background_fill_selected": "transparent",
            "checkbox_label_text_color": "#e8e8e6",
        },
    ) | {
        "input_border_width": "1px",
        "input_radius": "6px",
        "input_padding": "6px 8px",
        "input_shadow": "none",
        "input_shadow_focus": "none",
        "input_text_size": "13px",
        "checkbox_label_padding": "2px 0",
        "checkbox_label_gap": "4px",
        "checkbox_label_border_width": "0px",
        "checkbox_label_shadow": "none",
    }


def _buttons() -> dict[str, str]:
    return _both(
        {
            "button_primary_background_fill": "#2456a6",
            "button_primary_background_fill_hover": "#1d478c",
            "button_primary_text_color": "#ffffff",
            "button_secondary_background_fill": "#ffffff",
            "button_secondary_background_fill_hover": "#f4f4f2",
            "button_secondary_text_color": "#1d1f21",
            "button_secondary_border_color": "#d5d5d1",
        },
        {
            "button_primary_background_fill": "#7aa7ee",
            "button_primary_background_fill_hover": "#93b8f2",
            "button_primary_text_color": "#0f1720",
            "button_secondary_background_fill": "#1a1d20",
            "button_secondary_background_fill_hover": "#22272a",
            "button_secondary_text_color": "#e8e8e6",
            "button_secondary_border_color": "#3a3f44",
        },
    ) | {
        "button_border_width": "1px",
        "button_primary_border_color": "transparent",
        "button_large_radius": "7px",
        "button_small_radius": "6px",
        "button_large_padding": "8px 12px",
        "button_small_padding": "4px 9px",
        "button_small_text_size": "13px",
        "button_large_text_size": "14px",
        "button_small_text_weight": "400",
        "button_large_text_weight": "600",
        "button_primary_shadow": "none",
        "button_secondary_shadow": "none",
    }
