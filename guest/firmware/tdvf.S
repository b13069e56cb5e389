// SPDX-License-Identifier: Apache-2.0
// What a VMM reads in the image: the GUID table below 4 GiB, which leads to the TDVF descriptor and its sections.
    .macro guid a, b, c, d0, d1, d2, d3, d4, d5, d6, d7
    .long \a
    .short \b, \c
    .byte \d0, \d1, \d2, \d3, \d4, \d5, \d6, \d7
    .endm

    .macro tdvf_section raw_size, address, size, type, attributes
    .long 0, \raw_size
    .quad \address, \size
    .long \type, \attributes
    .endm

    .set BFV, 0
    .set TD_HOB, 2
    .set TEMP_MEM, 3
    .set MR_EXTEND, 1

    .section .tdvf, "a"
    guid 0xe9eaf9f3, 0x168e, 0x44d5, 0xa8, 0xeb, 0x7f, 0x4d, 0x87, 0x38, 0xf6, 0xae
descriptor:
    .ascii "TDVF"
    .long descriptor_end - descriptor
    .long 1
    .long (descriptor_end - sections) / 32
sections:
    tdvf_section rom_size, rom_base, rom_size, BFV, MR_EXTEND
    tdvf_section 0, td_hob, td_hob_size, TD_HOB, 0
    tdvf_section 0, page_tables, page_tables_size, TEMP_MEM, 0
    tdvf_section 0, ram_base, ram_size, TEMP_MEM, 0
descriptor_end:

    // Read backwards from its end: the footer with the length of the whole table, then the entries.
    .section .guid_table, "a"
table:
    .long descriptor_offset
    .short 4 + 2 + 16
    guid 0xe47a6535, 0x984a, 0x4798, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2
    .short table_end - table
    guid 0x96b582de, 0x1fb2, 0x45f7, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d
table_end:
