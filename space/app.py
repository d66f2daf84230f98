"""A finener model in the browser: names in a text with their types, and the types themselves. Runs here and as a Hugging Face Space."""

from __future__ import annotations

import os
import sys
from html import escape
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr
from transformers import pipeline

import types_page
from answers import cut_answer, n_levels
from highlight import page
from reading import (
    FORMATS,
    MOST_CHARACTERS,
    OWN,
    Answer,
    Question,
    can_name,
    find,
    model_threshold,
    read_inputs,
    type_systems,
)

HERE = Path(__file__).resolve().parent
LOCAL_MODEL = HERE.parent / "outputs" / "quickstart"
EXAMPLES = [
    "Angela Merkel visited the Statue of Liberty in New York.",
    "The Boeing 747 of Lufthansa left Frankfurt Airport for Buenos Aires with 312 passengers.",
    "Vera Rubin measured how galaxies turn at the Carnegie Institution in Washington, long before the Hubble Space Telescope flew.",
    "Gabriel García Márquez grew up in Aracataca and published One Hundred Years of Solitude in 1967.\n"
    "He received the Nobel Prize in Literature in Stockholm fifteen years later.",
]
OWN_EXAMPLE = "astronomer\npolitician\nresearch institute\ncity\nspace telescope"
# The system's fonts: none comes over the network. Gradio's own grey is too pale to read.
FONTS = {"font": ["ui-sans-serif", "system-ui", "sans-serif"], "font_mono": ["ui-monospace", "Consolas", "monospace"]}
GREY = {
    "body_text_color_subdued": "*neutral_500",
    "block_info_text_color": "*neutral_500",
    "block_label_text_color": "*neutral_600",
}
# Of events that follow what a person moves or types: the last counts, and nothing covers the page meanwhile.
QUIET: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", "api_visibility": "private"}


class Space:
    """The page of one model.

    Args:
        pipe: of the model.
        name: what the page calls it.
    """

    def __init__(self, pipe: Any, name: str):
        self.pipe, self.name, self.config = pipe, name, pipe.model.config
        self.systems = type_systems(self.config)

    # ---------------------------------------------------------------- events

    def read(
        self, text: str, file: str | None, head: str, own: str, detection: float, threshold: float, level: float
    ) -> tuple[Answer, str]:
        """Reads what was given: the answer to keep, and its page."""
        try:
            answer = find(self.pipe, read_inputs(text, file), Question(head, own, detection, threshold))
        except ValueError as error:
            raise gr.Error(escape(str(error)), print_exception=False) from error
        return answer, self.show(answer, level)

    def read_again(self, answer: Answer | None, *given: Any) -> Any:
        """As :meth:`read`, once something was read."""
        return gr.skip() if answer is None else self.read(*given)

    def show(self, answer: Answer | None, level: float) -> Any:
        """The page of what was read, down to a level."""
        return gr.skip() if answer is None else page(cut_answer(answer, int(level)))

    def choose(self, head: str) -> list[Any]:
        """What the other controls become when the types are chosen: own types, their threshold, the level."""
        levels = 1 if head == OWN else n_levels(self.systems[head])
        return [
            gr.update(visible=head == OWN),
            gr.update(value=model_threshold(self.config, head)),
            gr.update(value=levels, maximum=max(levels, 2), visible=levels > 1),
        ]

    # ---------------------------------------------------------------- the page

    def build(self) -> gr.Blocks:
        """The whole page."""
        with gr.Blocks(title=f"finener · {self.name}", analytics_enabled=False) as blocks:
            gr.HTML(f"<h1>Names and their types</h1><p>by <code>{escape(self.name)}</code></p>", elem_classes="title")
            with gr.Tab("Text"):
                self._build_text()
            with gr.Tab("Types"):
                self._build_types()
        return blocks

    def _build_text(self) -> None:
        with gr.Row():
            with gr.Column(scale=3):
                info = f"At most {MOST_CHARACTERS:,} characters. Shift + Enter reads it."
                text = gr.Textbox(label="Text", info=info, lines=6, max_lines=16)
                with gr.Accordion("A file in place of the text", open=False):
                    label = ".txt, or .jsonl with an object with a text in each line"
                    file = gr.File(label=label, file_types=list(FORMATS), height=130)
                button = gr.Button("Find names", variant="primary")
                gr.Examples(EXAMPLES, text, label="Examples")
                answer = gr.State()
                result = self._html("", "mentions.js")
            with gr.Column(scale=1, min_width=280):
                settings = self._build_settings()
        head, own, detection, threshold, level = settings
        given, shown = [text, file, *settings], [answer, result]
        gr.on([button.click, text.submit], self.read, given, shown, api_name="read")
        changed = head.input(self.choose, head, [own, threshold, level], **QUIET)
        changed.then(self.read_again, [answer, *given], shown, api_visibility="private")
        gr.on([detection.input, threshold.input], self.read_again, [answer, *given], shown, **QUIET)
        level.input(self.show, [answer, level], result, **QUIET)

    def _build_settings(self) -> tuple[gr.Radio, gr.Textbox, gr.Slider, gr.Slider, gr.Slider]:
        first, ontology = next(iter(self.systems.items()))
        levels = n_levels(ontology)
        choices = self._choices() + ([("my own, by name", OWN)] if can_name(self.pipe) else [])
        head = gr.Radio(choices, value=first, label="Types", visible=len(choices) > 1)
        info = "One a line. The model need not know them; plain English words work best."
        own = gr.Textbox(OWN_EXAMPLE, label="My own types", info=info, lines=5, visible=False)
        least = self.config.detection_threshold
        detection = gr.Slider(0, 1, least, step=0.05, label="Least score of a mention", buttons=[])
        least, info = model_threshold(self.config, first), "Until you move it, the model's own apply."
        threshold = gr.Slider(0, 1, least, step=0.05, label="Least score of a type", info=info, buttons=[])
        level = gr.Slider(1, max(levels, 2), levels, step=1, label="Levels shown", visible=levels > 1, buttons=[])
        return head, own, detection, threshold, level

    def _choices(self) -> list[tuple[str, str]]:
        return [(f"{ontology.name} ({len(ontology):,} types)", head) for head, ontology in self.systems.items()]

    def _build_types(self) -> None:
        first = next(iter(self.systems))
        with gr.Row():
            hint = "a word of a name, id or description"
            query = gr.Textbox(label="Search", placeholder=hint, scale=3, min_width=280)
            head = gr.Radio(
                self._choices(), value=first, label="Types", visible=len(self.systems) > 1, scale=2, min_width=280
            )

        def inside(place: list[str]) -> str:
            """What an opened type holds: ``types.js`` sends the head and the type's index."""
            return types_page.inside(int(place[1]), self.systems[place[0]])

        def search(query: str, head: str) -> Any:
            return gr.update(value=types_page.browser(query, self.systems[head]), head_name=head)

        start = types_page.browser("", self.systems[first])
        listed = self._html(start, "types.js", server_functions=[inside], head_name=first)
        gr.on([query.change, head.input], search, [query, head], listed, **QUIET)

    def _html(self, value: str, script: str, **options: Any) -> gr.HTML:
        content = (HERE / script).read_text(encoding="utf-8")
        return gr.HTML(value, elem_classes="result", apply_default_css=False, js_on_load=content, **options)


# -------------------------------------------------------------------- start


def load(model: str | None, revision: str | None) -> tuple[Any, str]:
    """The pipeline of a Hub repo or a model folder, and its name.

    Raises:
        FileNotFoundError: when a folder is named that is not there, or none, and ``make quickstart`` has left no model.
    """
    folder = Path(model or LOCAL_MODEL)
    is_path = not model or model[0] in "./~" or model.count("/") > 1 or ("/" in model and folder.parent.is_dir())
    if is_path and not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such model folder. Run `make quickstart`, or name a folder or repo: make demo MODEL=user/my-model. "
            "On the Hub set the Space's variable MODEL."
        )
    pipe = pipeline("token-classification", model=str(model or folder), revision=revision, trust_remote_code=True)
    return pipe, folder.name if folder.is_dir() else str(model)


def main() -> None:
    """Serves the page. The environment says of which model: ``MODEL`` and ``REVISION``."""
    try:
        pipe, name = load(os.environ.get("MODEL"), os.environ.get("REVISION") or None)
    except (OSError, ValueError) as error:
        sys.exit(f"space/app.py: {str(error).splitlines()[0]}")
    theme = gr.themes.Default(primary_hue="indigo", **FONTS).set(**GREY)
    Space(pipe, name).build().launch(theme=theme, css_paths=HERE / "style.css", footer_links=[])


if __name__ == "__main__":
    main()
