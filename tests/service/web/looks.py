"""How a browser looks at the page, and whether all can use what it shows."""

from __future__ import annotations

from typing import Any

LIGHT, DARK, PHONE = "light", "dark", "phone"
LOOKS: dict[str, dict[str, Any]] = {
    LIGHT: {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    DARK: {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    PHONE: {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True},
}


def check_accessible(page: Any) -> None:
    """Whether axe finds nothing against WCAG 2.1 A and AA."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
    assert found.violations_count == 0, found.generate_report()
