"""A small page for the panel, run in a kernel: images to search, page through and pick, and ways to fail."""

from workbench.browsers.panel import FOLDER, Browser, Paging
from workbench.errors import WorkbenchError
from workbench.figures.pages import environment
from workbench.stages import Run

SOURCE = """{% import "controls.html.j2" as controls %}
{% if part == "grid" %}<div class="wb-tiles">{% for name, token in tiles %}
<div class="wb-tile" data-event="pick" data-value="{{ name }}" tabindex="0" role="button"
  aria-selected="{{ "true" if name in picked else "false" }}"><svg viewBox="0 0 10 10">
{% if token %}<image width="10" height="10" data-image="{{ token }}"/>{% endif %}
</svg><p>{{ name }}</p></div>
{% endfor %}</div>{{ controls.pager(pages, "images") }}
{% else %}<div class="wb-bar">{{ controls.search("search", text, "name") }}
{{ controls.chip("clear", "", "<b>clear</b>", found) }}{{ controls.button("fail", "ours", "refuse") }}
{{ controls.button("fail", "other", "fail") }}
{{ controls.menu("order", "order", [("up", "up"), ("down", "down")], order) }}</div>{% endif %}
"""


class ImagesPage(Browser):
    def __init__(self, folder):
        super().__init__('<div data-region="bar"></div><div data-region="grid"></div>', folder)
        self.names = [*(path.name for path in folder.glob("*.jpg")), "<script>window.injected = true</script>"]
        self.text, self.order, self.page, self.picked, self.events = "", "up", 1, [], []

    def found(self):
        return sorted((name for name in self.names if self.text in name), reverse=self.order == "down")

    def regions(self):
        found, template = self.found(), environment(FOLDER).from_string(SOURCE)
        paging = Paging(len(found), 6, self.page)
        tiles = [(name, self.thumbnails.token(name)) for name in paging.of(found)]
        return {
            "bar": template.render(part="bar", text=self.text, found=len(found), order=self.order),
            "grid": template.render(part="grid", tiles=tiles, picked=self.picked, pages=paging),
        }

    def handle(self, event, value):
        self.events.append((event, value))
        if event == "search":
            self.text, self.page = value, 1
        elif event == "clear":
            self.text, self.page, self.picked = "", 1, []
        elif event == "order":
            self.order = value
        elif event == "pick":
            self.picked.append(value)
        elif event == "page":
            self.page = Paging(len(self.found()), 6, self.page).turned(value)
        elif value == "ours":
            raise WorkbenchError("<i>refused</i>. Do something else.")
        else:
            raise ValueError("not foreseen")


page = ImagesPage(Run.open("smoke").find("scenes") / "images")
page  # noqa: B018 - the notebook shows it
