-- Edits at the end of a message.
dofile(lib)

local conn = open()
greet(conn)

local function asking(what)
    envelope(conn, "alice@sender.example", "bob@test.example", "carol@test.example")
    content(conn, {
        {"X-Same", "one"}, {"Subject", "an\n ordinary mail"}, {"X-Do", what}, {"x-same", "two"}, {"X-Same", "three"},
    }, "Hello.\r\n")
    expect(conn, what, SMFIR_CONTINUE)
end

asking("add")
is("on top", mt.eom_check(conn, MT_HDRINSERT, "X-Top"))
is("its value", string.find(mt.getheader(conn, "X-Top", 0) or "", "from alice@sender.example", 1, true) ~= nil)
is("at the end", mt.eom_check(conn, MT_HDRADD, "X-End"))

asking("change")
is("changed", mt.eom_check(conn, MT_HDRCHANGE, "Subject"))

asking("remove")
is("deleted", mt.eom_check(conn, MT_HDRDELETE, "X-Same"))
is("nothing else", not mt.eom_check(conn, MT_HDRDELETE, "Subject"))

asking("body")
is("body", mt.eom_check(conn, MT_BODYCHANGE, "Taken away.\r\n"))

asking("redirect")
is("away", mt.eom_check(conn, MT_RCPTDELETE, "<bob@test.example>"))
is("away, too", mt.eom_check(conn, MT_RCPTDELETE, "<carol@test.example>"))
is("there", mt.eom_check(conn, MT_RCPTADD, "<archive@test.example>"))

asking("bcc")
is("one more", mt.eom_check(conn, MT_RCPTADD, "<archive@test.example>"))
is("none less", not mt.eom_check(conn, MT_RCPTDELETE, "<bob@test.example>"))

asking("nothing")
is("no edit", not mt.eom_check(conn, MT_HDRINSERT) and not mt.eom_check(conn, MT_HDRADD)
    and not mt.eom_check(conn, MT_HDRCHANGE) and not mt.eom_check(conn, MT_BODYCHANGE))
mt.disconnect(conn)
