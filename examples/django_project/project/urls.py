"""Where requests go."""

from django.urls import path

from guestbook import views

urlpatterns = [
    path("", views.entries, name="entries"),
    path("add/", views.add, name="add"),
    path("fail/", views.fail, name="fail"),
]
