"""A Flask application: a few notes, kept in memory by each worker.

    rgunicorn --chdir examples --workers 2 flask_app:app
    rgunicorn --chdir examples 'flask_app:create_app(title="Shopping")'
"""

from flask import Flask, abort, jsonify, request


def create_app(title: str = "Notes") -> Flask:
    app = Flask(__name__)
    notes: dict[int, str] = {}

    @app.get("/")
    def index():
        return f"<h1>{title}</h1>\n<ul>{''.join(f'<li>{note}</li>' for note in notes.values())}</ul>\n"

    @app.get("/notes/<int:number>")
    def show(number: int):
        if number not in notes:
            abort(404)
        return jsonify(number=number, text=notes[number])

    @app.post("/notes")
    def add():
        text = request.get_json()["text"]
        number = len(notes) + 1
        notes[number] = text
        app.logger.warning("note %d added", number)
        return jsonify(number=number, text=text), 201

    return app


app = create_app()
