// SPDX-License-Identifier: Apache-2.0
// The files of html/ as objects of the program, in the order of PagePart.
    .macro part name, file
    .globl seamless_page_\name
    .hidden seamless_page_\name
seamless_page_\name:
    .incbin "trace/html/\file"
    .endm

    .section .rodata
    part head, "head.html"
    part style, "style.css"
    part body, "body.html"
    part script, "script.js"
    part data, "data.js"
    part table, "table.js"
    part steps, "steps.js"
    part diagram, "diagram.js"
    part timeline, "timeline.js"
    part views, "views.js"
    part main, "main.js"
    .globl seamless_page_end
    .hidden seamless_page_end
seamless_page_end:
    .section .note.GNU-stack, "", %progbits
