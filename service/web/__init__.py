"""The page: what the control plane knows, to look at, and what people do with it, in a browser.

A folder a page: `routes.py` reads what REST reads (the same stores, the same bodies) and hands it to the folder's template; a script
of the folder, if it has one, makes it live. `frame.py` puts the template into the shell that all pages have; `shell/` has that, the
style, and the modules that pages share:

- `live.js` follows `GET /v1/events` in one stream a page and, when something is told, fetches the page again and morphs its parts that
  are `data-live`. What a person looks at stays: an open `<details>`, a focus, a selection, what is written in a field.
- `act.js` sends a `<form data-act>` to the REST API as JSON, with `If-Match` and `Idempotency-Key`, and shows what it answered. So the
  page has no writing endpoint of its own but signing in: whatever guards REST guards the page.
- `keys.js` hears the keys that a page has, and lists them when `?` is pressed.
- `chart.js` draws curves.

Without JavaScript every page shows the same and changes nothing. There is no inline script or style (`frame.POLICY`), and no state
in a process: any replica answers any request.

`face.py` turns the problem documents of what a browser asked for into pages, and an unknown browser to `/sign-in`. `assets.py` serves
scripts and styles, `packages.py` fetches those that are others'. A page is listed in `routes.py`, and in `frame.SECTIONS` if it is
to be found from everywhere.
"""
