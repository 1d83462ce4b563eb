"""Templates and rendering: pure, except `load`, which reads the folder. docs/templates.md is the manual."""

from msgxc.render.example import Problem, check, needs, preview, render, sample
from msgxc.render.folder import Template, Templates, load
from msgxc.render.old import old_template
from msgxc.render.person import Links

__all__ = [
    "Links",
    "Problem",
    "Template",
    "Templates",
    "check",
    "load",
    "needs",
    "old_template",
    "preview",
    "render",
    "sample",
]
