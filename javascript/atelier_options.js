// The search above many options: shows those whose name, label or explanation has every word that was typed.
(() => {
    const page = () => (typeof gradioApp === "function" ? gradioApp() : document);
    // Full-width letters and capitals are the same word.
    const plain = (text) => text.normalize("NFKC").toLowerCase();
    const show = (element, shown) => element.classList.toggle("atelier-unfound", !shown);

    const textOf = (option) => {
        const name = option.id.replace(/^atelier_train_|_option$/g, "");
        return plain(`${name} ${name.replaceAll("_", " ")} ${option.textContent}`);
    };

    // Gradio puts a frame around a title; one that was left standing empty would leave a gap.
    const frameOf = (title) => {
        const frame = title.closest(".block");
        return frame && !frame.querySelector("[id$=_option]") ? frame : title;
    };

    const search = (field) => {
        const words = plain(field.value).split(/\s+/).filter(Boolean);
        const room = page().querySelector(`#${CSS.escape(field.dataset.room)}`);
        const options = [...room.querySelectorAll("[id$=_option]")];
        const found = new Set(options.filter((one) => words.every((word) => textOf(one).includes(word))));
        for (const option of options) show(option, found.has(option));
        for (const holder of room.querySelectorAll(".form, .atelier-options")) {
            const inside = [...holder.querySelectorAll("[id$=_option]")];
            if (inside.length) show(holder, inside.some((one) => found.has(one)));
        }
        // A title stands before its options: it goes where none of them is left.
        const outermost = (part) => !part.parentElement.closest(".atelier-titled") || part.matches("[id$=_option]");
        const parts = [...room.querySelectorAll(".atelier-titled, [id$=_option]")].filter(outermost);
        parts.forEach((part, n) => {
            if (!part.matches(".atelier-titled")) return;
            const next = parts.slice(n + 1).findIndex((one) => one.matches(".atelier-titled"));
            const own = next < 0 ? parts.slice(n + 1) : parts.slice(n + 1, n + 1 + next);
            show(frameOf(part), own.some((one) => found.has(one)));
            const fold = part.querySelector(".label-wrap");
            if (words.length && fold && !fold.classList.contains("open") && own.some((one) => found.has(one))) fold.click();
        });
        const none = field.parentElement.querySelector(".atelier-none");
        none.hidden = found.size > 0;
    };

    document.addEventListener("input", (event) => {
        const field = event.composedPath()[0]; // a WebUI of gradio 3 may stand behind a shadow root
        if (field instanceof HTMLInputElement && field.matches(".atelier-find input")) search(field);
    });
})();
