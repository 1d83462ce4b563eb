"""The data of the system before this one (keyspace `sfpl`): its rows in, our records out.

`columns`, `people`, `threads` and `messages` are the rules, and pure; `reading` and `keyspace` give rows,
`importing` writes. docs/coming-from-the-old-system.md says what becomes of each column.
"""
