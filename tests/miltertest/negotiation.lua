-- Which steps are asked for, which are answered, and what is done when an MTA
-- offers less.
dofile(lib)

local conn = open()
for _, step in ipairs({SMFIP_NOCONNECT, SMFIP_NOMAIL, SMFIP_NORCPT, SMFIP_NODATA, SMFIP_NOHDRS, SMFIP_NOBODY}) do
    is("step wanted " .. step, not mt.test_option(conn, step))
end
-- No-reply there would lose the order of both protocols.
for _, step in ipairs({SMFIP_NR_CONN, SMFIP_NR_HELO, SMFIP_NR_MAIL, SMFIP_NR_RCPT, SMFIP_NR_DATA}) do
    is("step answered " .. step, not mt.test_option(conn, step))
end
for _, step in ipairs({SMFIP_NR_HDR, SMFIP_NR_EOH, SMFIP_NR_BODY, SMFIP_NOUNKNOWN, SMFIP_RCPT_REJ, SMFIP_HDR_LEADSPC}) do
    is("option " .. step, mt.test_option(conn, step))
end
for _, action in ipairs({SMFIF_ADDHDRS, SMFIF_CHGHDRS, SMFIF_CHGBODY, SMFIF_ADDRCPT, SMFIF_DELRCPT, SMFIF_CHGFROM, SMFIF_QUARANTINE}) do
    is("action " .. action, mt.test_action(conn, action))
end
greet(conn)
mail(conn, "add")
expect(conn, "a mail", SMFIR_CONTINUE)
mt.disconnect(conn)

-- An old MTA: no options at all, every event is answered, and only headers can be added.
conn = open(SMFIF_ADDHDRS, 0)
is("no options", not mt.test_option(conn, SMFIP_NR_HDR) and not mt.test_option(conn, SMFIP_NOUNKNOWN))
is("one action", mt.test_action(conn, SMFIF_ADDHDRS) and not mt.test_action(conn, SMFIF_QUARANTINE))
greet(conn)
envelope(conn, "alice@sender.example", "bob@test.example")
check("header", mt.header(conn, "X-Do", "hold"))
expect(conn, "header", SMFIR_CONTINUE)
check("end of header", mt.eoh(conn))
expect(conn, "end of header", SMFIR_CONTINUE)
check("body", mt.bodystring(conn, "Hello.\r\n"))
expect(conn, "body", SMFIR_CONTINUE)
check("end of message", mt.eom(conn))
-- What was not offered is left out, and the mail goes on.
is("no quarantine", not mt.eom_check(conn, MT_QUARANTINE))
expect(conn, "a mail", SMFIR_CONTINUE)
mt.disconnect(conn)
