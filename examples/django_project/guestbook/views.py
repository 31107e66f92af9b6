"""A list of entries, a form for a new one."""

from django import forms
from django.contrib import messages
from django.shortcuts import redirect, render

from .models import Entry


class EntryForm(forms.ModelForm):
    """What a visitor fills in."""

    class Meta:
        model = Entry
        fields = ["name", "text"]


def entries(request):
    return render(request, "guestbook/entries.html", {"entries": Entry.objects.all()[:50], "count": Entry.objects.count()})


def add(request):
    form = EntryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        entry = form.save()
        messages.info(request, f"Thank you, {entry.name}.")
        return redirect("entries")
    return render(request, "guestbook/add.html", {"form": form}, status=400 if form.errors else 200)


def fail(request):
    """Shows where the traceback of a view goes: into the error log."""
    raise LookupError("this view always fails")
