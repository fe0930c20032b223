"""Answers for eyes and for programs: tables, JSON lines, HTML pages."""
