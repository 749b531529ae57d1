"""Buttons inside of drawn HTML: a click puts an order into a hidden text box, whose event the server answers.

A live piece is drawn by the server and shows other buttons from second to second; gradio's own cannot do that.
"""

from __future__ import annotations

from html import escape

BOX = "atelier_train_act"

# The time makes the same order twice two orders.
_SEND = (
    "const b=document.querySelector('#BOX textarea, #BOX input');"
    "b.value=this.dataset.act+'\\n'+Date.now();"
    "b.dispatchEvent(new Event('input',{bubbles:true}))"
)


def act_button(
    act: str, label: str, *, title: str = "", kind: str = "", id_: str = "", box: str = BOX, before: str = ""
) -> str:
    """Return a button that sends ``act``: a verb, a space, and what it is about, into the hidden box of this id.

    ``before`` is HTML that stands in the button before its label.
    """
    extra = f' title="{escape(title)}"' if title else ""
    extra += f' id="{escape(id_)}"' if id_ else ""
    classes, send = f"atelier-act {kind}".strip(), escape(_SEND.replace("BOX", box))
    return (
        f'<button type="button" class="{classes}" data-act="{escape(act)}"{extra} onclick="{send}">'
        f"{before}{escape(label)}</button>"
    )


def read_act(value: str) -> tuple[str, str]:
    """Return verb and object of what `act_button` sent."""
    order = (value or "").split("\n")[0]
    verb, _, thing = order.partition(" ")
    return verb, thing
