// Shows the regions of a page that Python renders, and tells Python what the user does. See panel.py.
const TYPING_PAUSE_MS = 150;
const STILL_AFTER_MS = 2000; // then the notebook gets its static twin
const BUSY_AFTER_MS = 600;
const ANSWER_WITHIN_MS = 10_000;
const IMAGES_AT_ONCE = 4;
const MOST_IMAGES = 400;
const SUPPRESS = "data-lm-suppress-shortcuts";
const KEYS = { ArrowLeft: "previous", PageUp: "previous", ArrowRight: "next", PageDown: "next", Home: "first", End: "last" };

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "wb";
  root.tabIndex = -1;
  root.innerHTML = `<div data-region="error" role="alert"></div>${model.get("frame")}`;
  el.append(root);

  // ---- events: one at a time, of several of the same name the last one
  const waiting = [];
  let inFlight = false;
  let busyTimer = 0;
  let typingTimer = 0;
  let stillTimer = 0;
  let typed = null;

  function tell(name, value) {
    const earlier = waiting.findIndex((event) => event.name === name && name !== "page");
    if (earlier >= 0) waiting.splice(earlier, 1);
    waiting.push({ name, value });
    sendNext();
  }

  function sendNext() {
    if (inFlight || !waiting.length) return;
    inFlight = true;
    busyTimer = setTimeout(() => root.classList.add("wb-waiting"), BUSY_AFTER_MS);
    send({ kind: "event", ...waiting.shift() });
  }

  function send(message) {
    try {
      model.send(message);
    } catch (failure) {
      // Its kernel was restarted or shut down.
      clearTimeout(busyTimer);
      say(`The kernel that drew this is gone (${failure.message}). Run the cell again.`);
    }
  }

  function say(text) {
    const note = document.createElement("div");
    note.className = "wb-error";
    note.textContent = text;
    root.querySelector('[data-region="error"]').replaceChildren(note);
  }

  function answered() {
    inFlight = false;
    clearTimeout(busyTimer);
    root.classList.remove("wb-waiting");
    sendNext();
    clearTimeout(stillTimer);
    if (!place) stillTimer = setTimeout(() => send({ kind: "still" }), STILL_AFTER_MS);
  }

  function flushTyping() {
    if (!typed) return;
    clearTimeout(typingTimer);
    const { name, value } = typed;
    typed = null;
    tell(name, value);
  }

  const sender = (target) => target.closest("[data-event]");
  const isText = (element) => element.matches("input[type=search], input[type=text]");
  const isField = (element) => element.matches("input, select, textarea");

  // ---- the address: what stands after # is the state of the page, by the name of each panel's place
  const place = model.get("place");
  const stored = () => new URLSearchParams(location.hash.slice(1));

  function keepLink(link) {
    const all = stored();
    if (link === "{}") all.delete(place);
    else all.set(place, link);
    if (all.toString() !== stored().toString()) history.replaceState(null, "", `${location.pathname}${location.search}#${all}`);
    const title = root.querySelector("[data-title]")?.dataset.title;
    if (title) document.title = title;
  }

  function goTo(source) {
    const query = new URLSearchParams(location.search);
    query.set(source.dataset.query, source.value);
    // The filters of a run say nothing in another.
    location.assign(`${location.pathname}?${query}${source.dataset.query === "run" ? "" : location.hash}`);
  }

  root.addEventListener("click", (event) => {
    const way = event.target.closest("button[data-query]");
    if (way) return goTo(way);
    const source = sender(event.target);
    if (!source || isField(source) || source.disabled) return;
    flushTyping();
    tell(source.dataset.event, source.dataset.value ?? null);
  });
  root.addEventListener("input", (event) => {
    const source = sender(event.target);
    if (!source || !isText(source)) return;
    typed = { name: source.dataset.event, value: source.value };
    clearTimeout(typingTimer);
    typingTimer = setTimeout(flushTyping, TYPING_PAUSE_MS);
  });
  root.addEventListener("change", (event) => {
    if (event.target.matches("select[data-query]")) return goTo(event.target);
    const source = sender(event.target);
    if (!source || !isField(source)) return;
    if (isText(source)) return flushTyping();
    flushTyping();
    tell(source.dataset.event, source.type === "checkbox" ? String(source.checked) : source.value);
  });
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (isField(event.target)) {
      if (event.key === "Enter" && isText(event.target)) {
        flushTyping();
        if (event.target.dataset.enter) tell(event.target.dataset.enter, event.target.value);
      }
      return;
    }
    const source = sender(event.target);
    if ((event.key === "Enter" || event.key === " ") && source && source.tagName !== "BUTTON") {
      event.preventDefault();
      tell(source.dataset.event, source.dataset.value ?? null);
    } else if (KEYS[event.key] && root.querySelector('[data-event="page"]')) {
      event.preventDefault();
      tell("page", KEYS[event.key]);
    }
  });

  // JupyterLab would take arrows and letters for its own shortcuts ("d d" deletes the cell). It searches from the focused
  // element outwards and stops at this mark, so the mark stands on that element too; Ctrl+S and its like stay JupyterLab's.
  function keepKeys(event) {
    if (!root.contains(event.target)) return;
    const ours = !(event.ctrlKey || event.metaKey || event.altKey);
    for (const element of [root, event.target]) {
      if (ours) element.setAttribute(SUPPRESS, "true");
      else element.removeAttribute(SUPPRESS);
    }
  }
  window.addEventListener("keydown", keepKeys, true); // JupyterLab listens on the document, which comes later

  // ---- regions: focus, caret and what is being typed survive a change
  function replace(region, html) {
    const active = region.contains(document.activeElement) ? document.activeElement : null;
    const kept = active && {
      selector: [
        `[data-event="${CSS.escape(active.dataset.event ?? "")}"]`,
        isField(active) || active.dataset.value === undefined ? "" : `[data-value="${CSS.escape(active.dataset.value)}"]`,
      ].join(""),
      text: isText(active) ? active.value : null,
      caret: isText(active) ? [active.selectionStart, active.selectionEnd] : null,
    };
    const scrolled = region.scrollTop;
    region.innerHTML = html;
    region.scrollTop = scrolled;
    if (kept) {
      const successor = active.dataset.event ? region.querySelector(kept.selector) : null;
      if (successor && !successor.disabled) {
        successor.focus({ preventScroll: true });
        if (kept.text !== null) {
          successor.value = kept.text;
          successor.setSelectionRange(...kept.caret);
        }
      } else {
        root.focus({ preventScroll: true }); // so that keys go on paging
      }
    }
  }

  // ---- images: asked for once they are in the page, a few at a time, kept while they are among the last
  const images = new Map();
  let asked = [];

  function showImages() {
    for (const image of root.querySelectorAll("image[data-image]:not([href])")) {
      const address = images.get(image.dataset.image);
      if (address) image.setAttribute("href", address);
    }
    askForImages();
  }

  function askForImages() {
    if (asked.length) return;
    const wanted = new Set();
    for (const image of root.querySelectorAll("image[data-image]:not([href]):not([data-failed])")) wanted.add(image.dataset.image);
    asked = [...wanted].slice(0, IMAGES_AT_ONCE);
    if (asked.length) send({ kind: "images", tokens: asked });
  }

  function receiveImages(tokens, failures, buffers) {
    tokens.forEach((token, place) => {
      images.set(token, URL.createObjectURL(new Blob([buffers[place]], { type: "image/jpeg" })));
    });
    for (const [token, problem] of Object.entries(failures)) {
      for (const image of root.querySelectorAll(`image[data-image="${CSS.escape(token)}"]:not([data-failed])`)) {
        image.dataset.failed = "true";
        const note = document.createElement("p");
        note.className = "wb-problem";
        note.textContent = problem;
        image.closest(".wb-scene").after(note);
      }
    }
    const shown = new Set([...root.querySelectorAll("image[data-image]")].map((image) => image.dataset.image));
    for (const [token, address] of images) {
      if (images.size <= MOST_IMAGES) break;
      if (shown.has(token)) continue;
      URL.revokeObjectURL(address);
      images.delete(token);
    }
    asked = [];
    showImages();
  }

  function receive(message, buffers) {
    clearTimeout(unanswered);
    if (message.kind === "regions") {
      for (const [name, html] of Object.entries(message.regions)) {
        const region = root.querySelector(`[data-region="${CSS.escape(name)}"]`);
        if (region) replace(region, html);
      }
      showImages();
      if (place && message.link !== undefined) keepLink(message.link);
      if (message.answer) answered();
    } else if (message.kind === "file") {
      saveFile(message.name, buffers[0]);
      answered();
    } else if (message.kind === "images") {
      receiveImages(message.tokens, message.failures, buffers);
    }
  }

  function saveFile(name, content) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  const leaveFigure = watchFigure(root, tell);

  model.on("msg:custom", receive);
  send({ kind: "ready", link: place && stored().get(place) });
  // anywidget drops all messages to a panel that the browser began more than 2 s late.
  const unanswered = setTimeout(
    () => say("Nothing has come from the kernel yet. If it is not busy, run the cell again or load the page again."),
    ANSWER_WITHIN_MS,
  );
  return () => {
    clearTimeout(unanswered);
    clearTimeout(busyTimer);
    clearTimeout(typingTimer);
    clearTimeout(stillTimer);
    leaveFigure();
    model.off("msg:custom", receive);
    window.removeEventListener("keydown", keepKeys, true);
    for (const address of images.values()) URL.revokeObjectURL(address);
  };
}

export default { render };
