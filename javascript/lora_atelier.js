// Live pieces of the page and the theme switch; the same file in a WebUI's page and in the studio's.
(() => {
    const EVERY_MS = 1000;
    const inWebui = typeof gradioApp === "function";
    const API = inWebui ? "./lora-atelier/v1" : "/lora-atelier/v1"; // a WebUI may stand below an address of its own
    const page = () => (inWebui ? gradioApp() : document);

    // -- live pieces: the server draws them, every tab shows the same (lib_lora/services/polled.py) ---------------------

    let boot = "";
    let silent = 0;

    const showLost = (kind) => {
        const bar = page().querySelector(".atelier-lost");
        if (!bar || bar.dataset.shown === kind) return;
        bar.dataset.shown = kind;
        bar.hidden = !kind;
        bar.textContent = kind ? bar.dataset[kind] : "";
        if (kind !== "restarted") return;
        const button = document.createElement("button");
        button.textContent = bar.dataset.reload;
        button.addEventListener("click", () => location.reload());
        bar.append(" ", button);
    };

    // What a person opened or scrolled to stays so when the piece is drawn anew.
    const replace = (piece, html) => {
        const key = (node, index) => node.id || index;
        const open = new Map([...piece.querySelectorAll("details")].map((one, n) => [key(one, n), one.open]));
        const scrolled = new Map([...piece.querySelectorAll("[id]")].map((one) => [one.id, [one.scrollLeft, one.scrollTop]]));
        const focused = piece.contains(document.activeElement) ? document.activeElement.id : "";
        piece.innerHTML = html;
        [...piece.querySelectorAll("details")].forEach((one, n) => {
            if (open.has(key(one, n))) one.open = open.get(key(one, n));
        });
        for (const [id, [left, top]] of scrolled) {
            const one = left || top ? piece.querySelector("#" + CSS.escape(id)) : null;
            if (one) [one.scrollLeft, one.scrollTop] = [left, top];
        }
        if (focused) piece.querySelector("#" + CSS.escape(focused))?.focus({ preventScroll: true });
        piece.dispatchEvent(new CustomEvent("atelier-renewed", { bubbles: true }));
    };

    const renew = async (piece) => {
        const { live, language, version } = piece.dataset;
        const query = new URLSearchParams({ lang: language, seen: version });
        const answer = await fetch(`${API}/live/${encodeURIComponent(live)}?${query}`, { cache: "no-store" });
        const news = await answer.json();
        if (boot && news.boot && boot !== news.boot) showLost("restarted");
        boot = boot || news.boot;
        if (!answer.ok || news.html === null || !piece.isConnected || piece.dataset.version !== version) return;
        piece.dataset.version = news.version;
        replace(piece, news.html);
    };

    const tick = async () => {
        const pieces = [...page().querySelectorAll(".atelier-live")].filter((one) => one.offsetParent !== null);
        try {
            if (!document.hidden) await Promise.all(pieces.map(renew));
            silent = 0;
            if (page().querySelector(".atelier-lost")?.dataset.shown === "lost") showLost("");
        } catch (error) {
            if (!(error instanceof TypeError)) throw error; // fetch's word for "no answer"
            silent += 1;
            if (silent >= 3) showLost("lost"); // one missed beat is no news
        } finally {
            setTimeout(tick, EVERY_MS);
        }
    };

    // -- dark and light; a WebUI has its own switch -------------------------------------------------------------

    const DARK = "atelier-dark";

    const setDark = (dark) => {
        document.body.classList.toggle("dark", dark);
        document.documentElement.style.colorScheme = dark ? "dark" : "light";
        const button = page().querySelector(".atelier-theme");
        if (button) button.textContent = dark ? button.dataset.light : button.dataset.dark;
    };

    const prepareTheme = () => {
        const stored = localStorage.getItem(DARK);
        setDark(stored === null ? matchMedia("(prefers-color-scheme: dark)").matches : stored === "1");
        page().querySelector(".atelier-theme")?.addEventListener("click", () => {
            const dark = !document.body.classList.contains("dark");
            localStorage.setItem(DARK, dark ? "1" : "0");
            setDark(dark);
        });
    };

    // -- the same tab after a reload or another language -------------------------------------------------------

    const TAB = "atelier-tab";

    const prepareTabs = () => {
        const bar = page().querySelector("#atelier_app_tabs :is(.tab-nav, [role=tablist])"); // the first is the outermost
        const tabs = bar ? [...bar.querySelectorAll("button")] : [];
        tabs[Number(sessionStorage.getItem(TAB) || 0)]?.click();
        const note = (event) => {
            const index = [...bar.querySelectorAll("button")].indexOf(event.target.closest("button"));
            if (index >= 0) sessionStorage.setItem(TAB, index);
        };
        bar?.addEventListener("click", note, { capture: true }); // afterwards gradio 4 has put another button there
    };

    const start = () => {
        if (!inWebui) {
            prepareTheme();
            prepareTabs();
        }
        tick();
    };

    if (inWebui) onUiLoaded(start);
    else start();
})();
