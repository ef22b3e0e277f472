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
        self.text, self.order, self.page, self.picked = "", "up", 1, []

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

    def acts(self, value):
        return {
            "search": lambda: {"text": value, "page": 1},
            "clear": lambda: {"text": "", "page": 1, "picked": []},
            "order": lambda: {"order": value},
            "pick": lambda: {"picked": [*self.picked, value]},
            "page": lambda: {"page": Paging(len(self.found()), 6, self.page).turned(value)},
            "fail": lambda: self.fail(WorkbenchError if value == "ours" else ValueError),
        }

    def change(self, **changes):
        vars(self).update(changes)

    def fail(self, kind):
        raise kind("<i>refused</i>. Do something else.")


page = ImagesPage(Run.open("smoke").find("scenes") / "images")
page  # noqa: B018 - the notebook shows it
