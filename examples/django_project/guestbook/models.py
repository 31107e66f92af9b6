"""What is kept."""

from django.db import models


class Entry(models.Model):
    """A visitor's words."""

    name = models.CharField(max_length=80)
    text = models.TextField(max_length=2000)
    written = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-written", "-id"]

    def __str__(self) -> str:
        return f"{self.name}: {self.text[:40]}"
