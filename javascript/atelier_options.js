// Many options: groups that fold, a search above them, and which of them were changed (lib_lora/ui/train/options.py).
(() => {
    const page = () => (typeof gradioApp === "function" ? gradioApp() : document);
    const byId = (id) => page().querySelector(`#${CSS.escape(id)}`);
    const show = (element, shown) => element.classList.toggle("atelier-unfound", !shown);
    // Full-width letters and capitals are the same word.
    const plain = (text) => text.normalize("NFKC").toLowerCase();

    // -- groups --------------------------------------------------------------------------------------------------

    const headsOf = (room) => [...room.querySelectorAll(".atelier-fold-head")];
    const bodyOf = (head) => byId(head.getAttribute("aria-controls"));
    const isOpen = (head) => head.getAttribute("aria-expanded") === "true";

    const fold = (head, open) => {
        head.setAttribute("aria-expanded", open);
        bodyOf(head)?.classList.toggle("atelier-open", open);
    };

    // Gradio puts a frame around a heading; one that was left standing empty would leave a gap.
    const frameOf = (head) => {
        const frame = head.closest(".block");
        return frame && !frame.querySelector("[id$=_option]") ? frame : head.closest(".atelier-fold-frame");
    };

    // -- what was changed: the server says it beside the plan ----------------------------------------------------

    const changed = () => {
        const told = page().querySelector("[data-changed]");
        return told ? JSON.parse(told.dataset.changed) : { names: [], groups: {} };
    };

    const count = () => {
        const { groups } = changed();
        for (const head of headsOf(page())) {
            const [said, now] = [head.querySelector(".atelier-count"), groups[head.dataset.group] ?? ""];
            if (said.textContent !== now) said.textContent = now;
        }
    };

    // -- the search ----------------------------------------------------------------------------------------------

    const nameOf = (option) => option.id.replace(/^atelier_train_|_option$/g, "");
    const textOf = (option) => plain(`${nameOf(option)} ${nameOf(option).replaceAll("_", " ")} ${option.textContent}`);

    const search = (finder) => {
        const room = byId(finder.dataset.room);
        const words = plain(finder.querySelector("[type=search]").value).split(/\s+/).filter(Boolean);
        const only = finder.querySelector("[type=checkbox]").checked;
        const names = new Set(changed().names);
        // What somebody is typing in stays, even where it has its usual value again.
        const kept = (one) => !only || names.has(nameOf(one)) || one.contains(document.activeElement);
        const fits = (one) => kept(one) && words.every((word) => textOf(one).includes(word));
        const options = [...room.querySelectorAll("[id$=_option]")];
        const found = new Set(options.filter(fits));
        const hasFound = (holder) => [...holder.querySelectorAll("[id$=_option]")].some((one) => found.has(one));
        for (const option of options) show(option, found.has(option));
        for (const holder of room.querySelectorAll(".form, .atelier-options")) {
            if (holder.querySelector("[id$=_option]")) show(holder, hasFound(holder));
        }
        for (const head of headsOf(room)) {
            const hit = hasFound(bodyOf(head));
            show(frameOf(head), hit);
            if (words.length || only) {
                head.dataset.before ??= isOpen(head);
                fold(head, hit);
            } else if ("before" in head.dataset) {
                fold(head, head.dataset.before === "true");
                delete head.dataset.before;
            }
        }
        const none = words.length ? finder.dataset.nothing : finder.dataset.unchanged;
        finder.querySelector(".atelier-none").textContent = found.size ? "" : none;
    };

    document.addEventListener("input", (event) => {
        const field = event.composedPath()[0]; // a WebUI of gradio 3 may stand behind a shadow root
        const finder = field instanceof HTMLInputElement && field.closest(".atelier-find");
        if (finder) search(finder);
    });

    document.addEventListener("click", (event) => {
        const head = event.composedPath()[0]?.closest?.(".atelier-fold-head");
        if (head) fold(head, !isOpen(head));
    });

    // The server's answer, and in gradio 6 the headings themselves, come whenever they come.
    let waits = false;
    let last = "";
    const look = () => {
        waits = false;
        count();
        const now = JSON.stringify(changed().names);
        if (now === last) return;
        last = now;
        for (const finder of page().querySelectorAll(".atelier-find")) {
            if (finder.querySelector("[type=checkbox]").checked) search(finder);
        }
    };
    new MutationObserver(() => {
        if (!waits) requestAnimationFrame(look);
        waits = true;
    }).observe(document.documentElement, { childList: true, subtree: true });
})();
