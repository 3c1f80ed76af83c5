"""Pages read back as a browser would, and a text that means them harm."""

from __future__ import annotations

from html.parser import HTMLParser

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">&amp;<!--"


class Page(HTMLParser):
    """Collects elements, the text of scripts, and what they would load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.links, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "script":
            self.scripts.append("")
        self.links += [value for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data):
        if self.lasttag == "script" and self.scripts[-1] == "":
            self.scripts[-1] = data
        else:
            self.text.append(data)
