// The row of block weights and the list of LoRAs: everything that must answer at once, without asking the server.
// The server draws the row (lib_lora/ui/block_weight/row.py). Its values are those of the vector's text field; a slider
// that was let go puts the new vector into a hidden mailbox, from where the server writes it into the prompt's tag.
(() => {
    const LOOK_MS = 150;
    const page = () => (typeof gradioApp === "function" ? gradioApp() : document);
    const field = (id) => page().querySelector(`#${CSS.escape(id)} textarea, #${CSS.escape(id)} input`);

    const tell = (element, text) => {
        element.value = text;
        element.dispatchEvent(new Event("input", { bubbles: true }));
    };

    const short = (number) => String(Math.round(number * 1000) / 1000);

    // -- painting -----------------------------------------------------------------------------------------------

    const paintBlock = (block, value) => {
        const [slider, number] = block.querySelectorAll("input");
        slider.min = Math.min(0, Math.floor(value));
        slider.max = Math.max(1, Math.ceil(value));
        slider.value = value;
        if (document.activeElement !== number) number.value = short(value);
        slider.setAttribute("aria-valuetext", short(value));
        const kind = value < 0 ? "below" : value > 1 ? "above" : "usual";
        block.dataset.kind = kind;
        block.style.setProperty("--strength", Math.min(1, Math.abs(value)).toFixed(3));
        block.classList.toggle("atelier-zero", value === 0);
    };

    const paint = (row, text) => {
        const values = text.split(",").map(Number);
        const names = row.dataset.names.split(",");
        if (values.length !== names.length || values.some(Number.isNaN)) return;
        row.weights = Object.fromEntries(names.map((name, n) => [name, values[n]]));
        for (const block of row.querySelectorAll(".atelier-block")) paintBlock(block, row.weights[block.dataset.block]);
    };

    const vectorOf = (row) => row.dataset.names.split(",").map((name) => short(row.weights?.[name] ?? 1)).join(",");

    // -- moving -------------------------------------------------------------------------------------------------

    const moved = (input) => {
        const block = input.closest(".atelier-block");
        const row = block.closest(".atelier-blocks");
        if (input.value === "" || Number.isNaN(Number(input.value))) return null;
        const value = Number(input.value);
        if (!row.weights) {
            // The other weights are not there yet: it waits for them, and moves then.
            row.early = { ...row.early, [block.dataset.block]: value };
            return null;
        }
        row.weights[block.dataset.block] = value;
        paintBlock(block, value);
        row.shown = vectorOf(row);
        const vector = field(row.dataset.vector);
        if (vector) tell(vector, row.shown);
        return row;
    };

    const moveEarly = (row) => {
        const early = Object.entries(row.early ?? {});
        row.early = null;
        for (const [name, value] of early) {
            const number = row.querySelector(`[data-block="${CSS.escape(name)}"] input[type=number]`);
            number.value = value;
            moved(number);
        }
        if (early.length) send(row);
    };

    const send = (row) => {
        clearTimeout(row.sending);
        row.sending = setTimeout(() => {
            row.sending = null;
            const mailbox = field(row.dataset.mailbox);
            // A blank more or less: what is written twice is a change the second time as well.
            if (mailbox) tell(mailbox, vectorOf(row) + (mailbox.value.endsWith(" ") ? "" : " "));
        }, 120); // arrow keys held down are one change
    };

    const within = (event) => event.target.closest?.(".atelier-block input");

    document.addEventListener("input", (event) => {
        const input = within(event);
        const row = input && moved(input);
        if (row) row.moving = true;
    });
    document.addEventListener("change", (event) => {
        const input = within(event);
        const row = input && moved(input);
        if (!row) return;
        row.moving = false;
        send(row);
    });

    // A preset, a typed vector or another LoRA comes from the server: the row follows the text field.
    const follow = () => {
        for (const row of page().querySelectorAll(".atelier-blocks")) {
            const text = field(row.dataset.vector)?.value ?? "";
            if (text === row.shown || row.moving || row.sending) continue;
            row.shown = text;
            paint(row, text);
            if (row.weights) moveEarly(row);
        }
    };

    // -- the list of LoRAs --------------------------------------------------------------------------------------

    const insert = (button) => {
        const box = button.closest(".atelier-lora-box");
        const prompt = field(box.dataset.prompt);
        const at = prompt.atelierCaret ?? prompt.value.length;
        const [before, after] = [prompt.value.slice(0, at), prompt.value.slice(at)];
        const gap = before && !/\s$/.test(before) ? " " : "";
        tell(prompt, before + gap + button.dataset.insert + after);
        prompt.atelierCaret = before.length + gap.length + button.dataset.insert.length;
        prompt.setSelectionRange(prompt.atelierCaret, prompt.atelierCaret);
    };

    document.addEventListener("click", (event) => {
        const button = event.target.closest?.(".atelier-insert");
        if (button) insert(button);
    });
    document.addEventListener("selectionchange", () => {
        const active = document.activeElement;
        if (active?.tagName === "TEXTAREA") active.atelierCaret = active.selectionStart;
    });

    const filter = (box) => {
        const wanted = box.querySelector(".atelier-search").value.trim().toLowerCase();
        const has = (element) => element.textContent.toLowerCase().includes(wanted);
        for (const item of box.querySelectorAll("li")) item.hidden = !has(item);
        // A file that is folded away under another one comes into sight when it is the one that was looked for.
        for (const way of box.querySelectorAll("details")) {
            if (wanted && !has(way.parentElement.firstElementChild)) way.open = true;
        }
    };
    for (const name of ["input", "atelier-renewed"]) {
        document.addEventListener(name, (event) => {
            const box = event.target.closest?.(".atelier-lora-box");
            if (box) filter(box);
        });
    }

    // -- the widgets of a WebUI: looked at here, told to the server when they have come to rest -------------------
    // An event of gradio's would call the server at every key, and misses what is pasted or written by a script.

    const valueOf = (id) => {
        const inputs = [...page().querySelectorAll(`#${CSS.escape(id)} textarea, #${CSS.escape(id)} input`)];
        if (inputs.length > 1 && inputs.every((one) => one.type === "radio")) {
            return inputs.find((one) => one.checked)?.value ?? "";
        }
        return inputs[0]?.value ?? "";
    };

    const tagsOf = (text) => (text.match(/<(?:lora|lyco)\s*:[^<>]*>/gi) ?? []).join(" ");

    const seen = new Map(); // by mailbox: a mark that is drawn anew has told its news already

    const watch = (mark) => {
        const { kind, fields, mailbox } = mark.dataset;
        if (kind === "values" && mark.offsetParent === null) return;
        const values = fields.split(" ").map(valueOf);
        const text = kind === "tags" ? tagsOf(values[0]) : JSON.stringify(values);
        const known = seen.get(mailbox) ?? { told: "", last: "" };
        const resting = text === known.last;
        seen.set(mailbox, { told: known.told, last: text });
        if (!resting || text === known.told) return;
        const box = field(mailbox);
        if (!box) return;
        seen.set(mailbox, { told: text, last: text });
        tell(box, text);
    };

    // -- what is typed, pasted or deleted: gradio 6 tells of keys alone; a field with a box for it is heard here ---

    document.addEventListener("input", (event) => {
        const place = event.target.closest?.("[id^=atelier_]");
        const box = place && field(`${place.id}_typed`);
        if (box) tell(box, String(Number(box.value) + 1));
    });

    setInterval(() => {
        follow();
        page().querySelectorAll(".atelier-watch").forEach(watch);
    }, LOOK_MS);
})();
