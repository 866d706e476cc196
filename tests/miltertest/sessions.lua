-- Aborts at every step, sessions side by side, connections that just end.
dofile(lib)

local conn = open()
greet(conn)
local steps = {
    function() mt.mailfrom(conn, "<a@sender.example>") end,
    function() mt.rcptto(conn, "<bob@test.example>") end,
    function() mt.data(conn) end,
    function() mt.header(conn, "X-Do", " refuse") end,
    function() mt.eoh(conn) end,
    function() mt.bodystring(conn, "Hello.\r\n") end,
}
for last = 1, #steps do
    for step = 1, last do
        steps[step]()
    end
    check("abort", mt.abort(conn))
    -- Postfix sends one behind each mail, and one more at the end.
    check("abort", mt.abort(conn))
    mail(conn, "nothing")
    expect(conn, "the mail after an abort at step " .. last, SMFIR_CONTINUE)
    check("abort", mt.abort(conn))
end

-- HELO again in the same session, as after STARTTLS.
check("helo", mt.helo(conn, "other.example"))
mail(conn, "refuse")
expect(conn, "a mail after another helo", SMFIR_REPLYCODE)

-- Two at once, and one more that breaks off in the middle.
local other, broken = open(), open()
greet(other, "192.0.2.2")
greet(broken, "192.0.2.3")
envelope(conn, "alice@sender.example", "bob@test.example")
envelope(other, "alice@sender.example", "bob@test.example")
envelope(broken, "alice@sender.example", "bob@test.example")
mt.disconnect(broken, false)
content(other, {{"X-Do", "nothing"}}, "Hello.\r\n")
content(conn, {{"X-Do", "refuse"}}, "Hello.\r\n")
expect(conn, "the first", SMFIR_REPLYCODE)
expect(other, "the second", SMFIR_CONTINUE)
mt.disconnect(other)

-- Nothing but a header, nothing but a body, nothing at all, and a large one.
envelope(conn, "", "bob@test.example")
content(conn, {{"X-Do", "nothing"}})
expect(conn, "no body", SMFIR_CONTINUE)
envelope(conn, "alice@sender.example", "bob@test.example")
content(conn, {}, "Hello.\r\n")
expect(conn, "no header", SMFIR_CONTINUE)
envelope(conn, "alice@sender.example", "bob@test.example")
content(conn, {})
expect(conn, "nothing", SMFIR_CONTINUE)
envelope(conn, "alice@sender.example", "bob@test.example")
check("header", mt.header(conn, "X-Do", " refuse"))
check("end of header", mt.eoh(conn))
check("body", mt.bodyrandom(conn, 300000))
check("end of message", mt.eom(conn))
expect(conn, "a large one", SMFIR_REPLYCODE)
mt.disconnect(conn)
