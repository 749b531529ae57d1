"""Several handlers of one event, each called for itself (gradio 6).

Its page calls the handlers of one event one after the other. After each it looks whether the event came again
meanwhile, and if so begins *all* of them anew. Two such rounds, begun by two quick keys in a field with two handlers,
find each other running and never end: each step is a call of the server, and what a person does next waits behind.
Gradio 3 and 4 call the handlers side by side and repeat each alone. So does 6 for handlers that follow a step which
the page takes by itself: that step is put in between.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

AT_ONCE = "load"
"""The event whose handlers gradio 6 calls side by side already."""


def fan_out(blocks: Any, quiet: dict[str, Any]) -> None:
    """Let the handlers of each event of a page run side by side; called once, when the page is built and open again.

    Args:
        blocks: the page, a `gr.Blocks` of gradio 6.
        quiet: keywords of an event that shows nothing.
    """
    together: dict[tuple[int, str], list[Any]] = defaultdict(list)
    for handler in blocks.fns.values():
        # What has a chosen row or picture from the event itself must stay with it.
        if not handler.collects_event_data:
            for target in handler.targets:
                together[target].append(handler)
    for (component, name), handlers in together.items():
        if component is None or name == AT_ONCE or len(handlers) < 2:
            continue
        event = getattr(blocks.blocks[component], name)
        first = event(None, None, None, js="() => []", queue=False, **quiet)
        if any(len(handler.targets) > 1 for handler in handlers):
            raise ValueError(
                f"a handler of several events shares {name} of {blocks.blocks[component]} with another one"
            )
        for handler in handlers:
            handler.targets = [(None, "then")]
            handler.trigger_after = first["id"]
