// A click or Enter on the command in the line of scripts/lora_block_weight.py copies it.
(() => {
    const copy = (code) =>
        navigator.clipboard.writeText(code.textContent).then(() => {
            code.classList.add("lora-atelier-copied");
            setTimeout(() => code.classList.remove("lora-atelier-copied"), 800);
        });

    const prepare = (code) => {
        code.setAttribute("role", "button");
        code.tabIndex = 0;
        code.addEventListener("click", () => copy(code));
        code.addEventListener("keydown", (event) => {
            if (event.key === "Enter") copy(code);
        });
    };

    // Browsers offer the clipboard only on https and localhost; elsewhere the command stays plain, selectable text.
    if (!navigator.clipboard) return;
    onUiLoaded(() => gradioApp().querySelectorAll(".lora-atelier-note code").forEach(prepare));
})();
