-- Each verdict at the end of a message, one after another in one session: none
-- leaks into the next. The texts of replies miltertest can't compare.
dofile(lib)

local conn = open()
greet(conn)
for round = 1, 2 do
    mail(conn, "nothing")
    expect(conn, "nothing", SMFIR_CONTINUE)

    mail(conn, "refuse")
    expect(conn, "refuse", SMFIR_REPLYCODE)
    mail(conn, "later")
    expect(conn, "later", SMFIR_REPLYCODE)

    mail(conn, "discard")
    expect(conn, "discard", SMFIR_DISCARD)

    mail(conn, "hold")
    expect(conn, "hold", SMFIR_CONTINUE)
    is("quarantine with its reason", mt.eom_check(conn, MT_QUARANTINE, "a person will look"))

    -- Never SMFIR_ACCEPT, which would keep other things from being done.
    mail(conn, "accept")
    expect(conn, "accept", SMFIR_CONTINUE)
    is("what was done before accept", mt.eom_check(conn, MT_HDRINSERT, "X-First"))
end
mt.disconnect(conn)
