"""Checks of ``gatewright doctor``, and their results."""

from __future__ import annotations

from gatewright.records import Record

__all__ = ["Check", "finding", "note", "ok"]


class Check(Record, frozen=True, kw_only=True):
    """The result of a check. ``status`` is ``ok``, ``note`` or ``finding``; ``remedy`` says how to fix a finding."""

    subject: str
    status: str
    detail: str
    remedy: str = ""


def ok(subject: str, detail: str) -> Check:
    return Check(subject=subject, status="ok", detail=detail)


def note(subject: str, detail: str, remedy: str = "") -> Check:
    return Check(subject=subject, status="note", detail=detail, remedy=remedy)


def finding(subject: str, detail: str, remedy: str) -> Check:
    return Check(subject=subject, status="finding", detail=detail, remedy=remedy)
