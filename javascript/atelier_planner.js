// The planner's row (lib_lora/ui/workshop/planner_view.py): values, fixed blocks, undo, known weights beside one's own,
// and what a click on a rendered variant takes. The weights stand in the tab's vector, which every other button reads;
// the rest goes as JSON into a hidden field, from where the server makes texts and orders of it.
(() => {
    const LOOK_MS = 150;
    const KEPT = 200; // steps that can be undone
    const page = () => (typeof gradioApp === "function" ? gradioApp() : document);
    const field = (id) => page().querySelector(`#${CSS.escape(id)} textarea, #${CSS.escape(id)} input`);
    const short = (number) => String(Math.round(number * 10000) / 10000);
    const tell = (element, text) => {
        if (!element || element.value === text) return;
        element.value = text;
        element.dispatchEvent(new Event("input", { bubbles: true }));
    };

    // -- what a row knows ---------------------------------------------------------------------------------------

    const namesOf = (row) => row.dataset.names.split(",");
    const cellsOf = (row) => [...row.querySelectorAll(".atelier-plan-cell")];
    const cellOf = (row, block) => row.querySelector(`.atelier-plan-cell[data-block="${CSS.escape(block)}"]`);
    const blocksOf = (row) => cellsOf(row).map((cell) => cell.dataset.block);
    const vectorOf = (row, weights) => namesOf(row).map((name) => short(weights[name] ?? 0)).join(",");

    // A vector of any length of the family, or a known name; null for what only the server can read.
    const parsed = (row, text) => {
        const known = JSON.parse(row.dataset.known);
        const name = Object.keys(known).find((one) => one.toLowerCase() === text.trim().toLowerCase());
        const values = name ? known[name] : text.split(",").map((one) => (one.trim() ? Number(one) : NaN));
        const names = name ? namesOf(row) : JSON.parse(row.dataset.layouts)[values.length];
        if (!names || values.some((value) => !Number.isFinite(value))) return null;
        return Object.fromEntries(names.map((one, n) => [one, values[n]]));
    };

    const begin = (row) => {
        row.plan = { weights: {}, fixed: new Set(), past: [], seen: null };
        const [first, ...rest] = row.querySelectorAll(".atelier-plan-known");
        const names = Object.keys(JSON.parse(row.dataset.known));
        for (const select of [first, ...rest]) for (const name of names) select.add(new Option(name, name));
        offerAgain(row);
    };

    const stateOf = (row) => ({
        weights: { ...row.plan.weights },
        fixed: [...row.plan.fixed],
        step: row.querySelector(".atelier-plan-step").value,
        mode: row.querySelector(".atelier-plan-mode").value,
    });

    const remember = (row) => {
        const now = stateOf(row);
        const last = row.plan.past.at(-1);
        if (last && JSON.stringify(last) === JSON.stringify(now)) return;
        row.plan.past = [...row.plan.past.slice(1 - KEPT), now];
    };

    const restore = (row, state) => {
        row.plan.weights = { ...state.weights };
        row.plan.fixed = new Set(state.fixed);
        row.querySelector(".atelier-plan-step").value = state.step;
        row.querySelector(".atelier-plan-mode").value = state.mode;
    };

    // -- what a row shows ---------------------------------------------------------------------------------------

    const paintCell = (row, cell) => {
        const block = cell.dataset.block;
        const value = row.plan.weights[block] ?? 0;
        const input = cell.querySelector(".atelier-plan-value");
        if (document.activeElement !== input || Number(input.value) !== value) input.value = short(value);
        input.step = row.querySelector(".atelier-plan-step").value || "0.05";
        const fixed = row.plan.fixed.has(block);
        cell.querySelector(".atelier-plan-fix").checked = fixed;
        cell.classList.toggle("atelier-fixed", fixed);
        cell.classList.toggle("atelier-zero", value === 0);
        cell.dataset.kind = value < 0 ? "below" : value > 1 ? "above" : "usual";
        cell.style.setProperty("--strength", Math.min(1, Math.abs(value)).toFixed(3));
    };

    const paintHints = (row) => {
        const known = JSON.parse(row.dataset.known);
        const names = namesOf(row);
        for (const select of row.querySelectorAll(".atelier-plan-known")) {
            const values = known[select.value];
            for (const hint of row.querySelectorAll(`.atelier-plan-hint[data-row="${select.dataset.row}"]`)) {
                const cell = hint.closest(".atelier-plan-cell");
                const value = values?.[names.indexOf(cell.dataset.block)];
                hint.textContent = value === undefined ? "" : short(value);
                hint.classList.toggle("atelier-other", value !== undefined && value !== row.plan.weights[cell.dataset.block]);
            }
        }
    };

    const paint = (row) => {
        for (const cell of cellsOf(row)) paintCell(row, cell);
        row.querySelector("[data-act=undo]").disabled = row.plan.past.length === 0;
        paintHints(row);
        paintVariants(row);
    };

    const paintVariants = (row) => {
        for (const box of page().querySelectorAll(".atelier-variants")) {
            const mine = box.dataset.lora === row.dataset.lora;
            if (box.hidden === mine) box.hidden = !mine;
            for (const one of mine ? box.querySelectorAll(".atelier-variant[data-block]") : []) {
                const { block, value, before } = one.dataset;
                const fixed = row.plan.fixed.has(block);
                const now = short(row.plan.weights[block] ?? 0);
                one.classList.toggle("atelier-taken", fixed && now === value);
                one.classList.toggle("atelier-plan-kept", fixed && now === before);
                one.classList.toggle("atelier-decided", fixed);
            }
        }
    };

    // -- to the server ------------------------------------------------------------------------------------------

    const send = (row) => {
        paint(row);
        const before = field(row.dataset.vector)?.value;
        clearTimeout(row.sending);
        row.sending = setTimeout(() => {
            row.sending = null;
            const { fixed, step, mode } = stateOf(row);
            const vector = field(row.dataset.vector);
            if (vector?.value === before) {
                // else somebody has typed there meanwhile, and the row follows
                row.plan.seen = vectorOf(row, row.plan.weights);
                tell(vector, row.plan.seen);
            }
            tell(field(row.dataset.form), JSON.stringify({ fixed, step: Number(step), mode }));
            keep(row);
        }, 120); // arrow keys held down are one change
    };

    const change = (row, make) => {
        remember(row);
        make();
        send(row);
    };

    const decide = (row, block, value) => {
        if (!cellOf(row, block)) return;
        change(row, () => {
            row.plan.weights[block] = Number(value);
            row.plan.fixed.add(block);
        });
    };

    // -- the plan of a file outlives the page: an evening's rounds are not lost with a reload -----------------------

    const place = (row) => `atelier-plan:${row.dataset.lora}`;

    const keep = (row) => {
        const now = stateOf(row);
        if (!now.fixed.length && !row.plan.past.length) return; // nothing was done yet
        try {
            localStorage.setItem(place(row), JSON.stringify(now));
            row.querySelector("[data-act=again]").hidden = true;
        } catch {
            // no room, or not allowed: the plan lasts as long as the page
        }
    };

    const kept = (row) => {
        try {
            const found = JSON.parse(localStorage.getItem(place(row)) ?? "null");
            return found?.weights && blocksOf(row).every((block) => block in found.weights) ? found : null;
        } catch {
            return null;
        }
    };

    const offerAgain = (row) => {
        row.querySelector("[data-act=again]").hidden = !kept(row);
    };

    // -- what a person does ---------------------------------------------------------------------------------------

    const acts = {
        undo: (row) => {
            const before = row.plan.past.pop();
            if (!before) return;
            restore(row, before);
            send(row);
        },
        again: (row) => {
            const found = kept(row);
            if (found) change(row, () => restore(row, found));
            row.querySelector("[data-act=again]").hidden = true;
        },
        next: (row) => {
            const start = page().querySelector("#atelier_plan_start");
            // What was decided last is on its way to the server still.
            if (row.sending) setTimeout(() => acts.next(row), LOOK_MS);
            else (start?.querySelector("button") ?? start)?.click();
        },
        take_hint: (row, button) => {
            const name = row.querySelector(`.atelier-plan-known[data-row="${button.dataset.row}"]`).value;
            const values = JSON.parse(row.dataset.known)[name];
            if (!values) return;
            change(row, () => namesOf(row).forEach((block, n) => (row.plan.weights[block] = values[n])));
        },
    };

    const free = (row, isFree) =>
        change(row, () => {
            row.plan.fixed = new Set(blocksOf(row).filter((block) => !isFree(row.plan.weights[block] ?? 0)));
        });
    acts.free_all = (row) => free(row, () => true);
    acts.fix_all = (row) => free(row, () => false);
    acts.free_above = (row) => free(row, (value) => value > 0);
    acts.free_below = (row) => free(row, (value) => value < 1);

    const rowOf = (element) => {
        const lora = element.closest(".atelier-variants")?.dataset.lora;
        const own = element.closest(".atelier-plan");
        return own ?? [...page().querySelectorAll(".atelier-plan")].find((row) => row.dataset.lora === lora);
    };

    const target = (event) => event.composedPath()[0]; // a WebUI of gradio 3 may stand behind a shadow root

    document.addEventListener("change", (event) => {
        const input = target(event);
        const cell = input.closest?.(".atelier-plan-cell");
        const row = input.closest?.(".atelier-plan");
        if (!row?.plan) return;
        if (input.matches(".atelier-plan-known")) return paintHints(row);
        if (!cell) return; // step and direction: on input
        const block = cell.dataset.block;
        if (input.matches(".atelier-plan-fix")) {
            change(row, () => row.plan.fixed[input.checked ? "add" : "delete"](block));
        } else if (input.value !== "" && Number.isFinite(Number(input.value))) {
            const value = Number(input.value);
            if (value !== row.plan.weights[block]) change(row, () => (row.plan.weights[block] = value));
        } else {
            paint(row); // what is no number is what it was
        }
    });

    // Step and direction belong to what can be undone as well: the state before is noted when one gets the focus.
    document.addEventListener("focusin", (event) => {
        const input = target(event);
        const row = input.closest?.(".atelier-plan");
        if (row?.plan && input.matches(".atelier-plan-step, .atelier-plan-mode")) row.plan.held = stateOf(row);
    });
    document.addEventListener("input", (event) => {
        const input = target(event);
        const row = input.closest?.(".atelier-plan");
        if (!row?.plan || !input.matches(".atelier-plan-step, .atelier-plan-mode")) return;
        if (row.plan.held) row.plan.past = [...row.plan.past.slice(1 - KEPT), row.plan.held];
        row.plan.held = null;
        send(row);
    });

    document.addEventListener("click", (event) => {
        const clicked = target(event);
        const copy = clicked.closest?.(".atelier-copy");
        if (copy) return copied(copy);
        const act = clicked.closest?.(".atelier-plan-act");
        const variant = clicked.closest?.(".atelier-variant[data-block]");
        const row = (act ?? variant) && rowOf(act ?? variant);
        if (!row?.plan) return;
        if (act) acts[act.dataset.act](row, act);
        else if (clicked.closest(".atelier-plan-take")) decide(row, variant.dataset.block, variant.dataset.value);
        else if (clicked.closest(".atelier-plan-keep")) decide(row, variant.dataset.block, variant.dataset.before);
    });

    document.addEventListener("keydown", (event) => {
        const key = event.key.toLowerCase();
        const from = target(event);
        if (key !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey) return;
        if (!from.closest?.(".atelier-plan, .atelier-variants")) return;
        const row = rowOf(from);
        if (!row?.plan) return;
        event.preventDefault();
        acts.undo(row);
    });

    const copied = async (button) => {
        const text = button.closest(".atelier-text").querySelector("textarea");
        try {
            await navigator.clipboard.writeText(text.value);
        } catch {
            text.select(); // a page without https has no clipboard of its own
            document.execCommand("copy");
        }
        const before = button.dataset.before ?? button.textContent;
        button.dataset.before = before;
        button.textContent = button.dataset.done;
        setTimeout(() => (button.textContent = before), 1500);
    };

    // A preset, a typed vector or another file comes from the server: the row follows the text field.
    const follow = (row) => {
        if (!row.plan) begin(row);
        const text = field(row.dataset.vector)?.value ?? "";
        if (row.sending || text === row.plan.seen) return paintVariants(row);
        const first = row.plan.seen === null;
        row.plan.seen = text;
        const weights = parsed(row, text);
        if (!weights) return;
        if (!first) remember(row);
        row.plan.weights = Object.fromEntries(namesOf(row).map((name) => [name, weights[name] ?? 0]));
        paint(row);
        if (first) send(row);
    };

    setInterval(() => page().querySelectorAll(".atelier-plan[data-known]").forEach(follow), LOOK_MS);
})();
