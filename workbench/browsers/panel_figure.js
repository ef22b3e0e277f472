// What a plotly figure beside a panel needs of the page around it. Loaded in front of panel.js.
const FIGURE_LOOKS = 480; // a quarter of a second each: a busy machine takes a minute
const LASSO_STARTS_PX = 4;
const MOST_LASSO_CORNERS = 300;

// Watches the figure in the panel's box; what happens is sent as the events that the page's frame names.
function watchFigure(root, tell) {
  // It measures its place before it has one, and again only when the window changes.
  const size = new ResizeObserver(() => window.dispatchEvent(new Event("resize")));
  const lassoed = root.querySelector("[data-lasso-event]");
  let leave = () => {};
  let looks = 0;
  const finder = setInterval(() => {
    const figure = root.closest(".widget-vbox")?.querySelector(".js-plotly-plot");
    if (figure?._fullLayout || ++looks > FIGURE_LOOKS) clearInterval(finder);
    if (!figure?._fullLayout) return;
    size.observe(figure);
    if (lassoed) leave = ownLasso(figure, (corners) => tell(lassoed.dataset.lassoEvent, JSON.stringify(corners)));
  }, 250);

  return () => {
    clearInterval(finder);
    size.disconnect();
    leave();
  };
}

// A lasso that costs nothing while it is drawn. Plotly's own marks every point again at each move of the mouse and then
// sends each of them by itself: seconds for 50,000 points. ``caught`` gets the corners in the figure's coordinates.
function ownLasso(figure, caught) {
  let corners = null;
  let target = null;
  let line = null;
  let replaying = false;

  function down(event) {
    const ours = event.button === 0 && !event.shiftKey && figure._fullLayout.dragmode === "lasso";
    if (replaying || !ours || !event.target.closest(".nsewdrag")) return;
    event.stopImmediatePropagation();
    event.preventDefault(); // no mouse events follow, which plotly would hear
    target = event.target;
    corners = [[event.clientX, event.clientY]];
    window.addEventListener("pointermove", move, true);
    window.addEventListener("mousemove", swallow, true);
    window.addEventListener("pointerup", up, true);
    window.addEventListener("pointercancel", stop, true);
  }

  function move(event) {
    event.stopImmediatePropagation();
    corners.push([event.clientX, event.clientY]);
    if (!line && far()) {
      line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      line.setAttribute("class", "wb-map-lasso");
      line.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
      document.body.append(line);
    }
    line?.firstChild.setAttribute("d", `M${corners.map((corner) => corner.join(",")).join("L")}Z`);
  }

  function up(event) {
    const drawn = corners;
    const isLasso = far();
    if (isLasso) event.stopImmediatePropagation();
    stop();
    if (isLasso) caught(thinned(drawn).map(inFigure));
    else click(event);
  }

  const swallow = (event) => event.stopImmediatePropagation();

  // One finger draws as the mouse does, and neither scrolls nor reaches plotly; two are plotly's.
  function touched(event) {
    const ours = figure._fullLayout.dragmode === "lasso" && event.touches.length === 1;
    if (!ours || !event.target.closest(".nsewdrag")) return;
    event.preventDefault();
    swallow(event);
  }

  const far = () => corners.some(([x, y]) => Math.hypot(x - corners[0][0], y - corners[0][1]) > LASSO_STARTS_PX);
  const thinned = (all) => all.filter((_, place) => place % Math.ceil(all.length / MOST_LASSO_CORNERS) === 0);

  function inFigure([x, y]) {
    const { left, top } = figure.getBoundingClientRect();
    const { xaxis, yaxis } = figure._fullLayout;
    return [xaxis.p2d(x - left - xaxis._offset), yaxis.p2d(y - top - yaxis._offset)];
  }

  // Plotly has not seen the button go down, so it is shown both ends of a click.
  function click(event) {
    const { clientX, clientY } = event;
    const how = { clientX, clientY, button: 0, bubbles: true, cancelable: true, view: window };
    replaying = true;
    target.dispatchEvent(new MouseEvent("mousedown", { ...how, buttons: 1 }));
    document.dispatchEvent(new MouseEvent("mouseup", how));
    replaying = false;
  }

  function stop() {
    window.removeEventListener("pointermove", move, true);
    window.removeEventListener("mousemove", swallow, true);
    window.removeEventListener("pointerup", up, true);
    window.removeEventListener("pointercancel", stop, true);
    line?.remove();
    line = null;
    corners = null;
  }

  figure.addEventListener("pointerdown", down, true);
  figure.addEventListener("touchstart", touched, { capture: true, passive: false });
  return () => {
    figure.removeEventListener("pointerdown", down, true);
    figure.removeEventListener("touchstart", touched, true);
    stop();
  };
}
