-- Clients of every kind of address, and of none.
dofile(lib)

for _, ip in ipairs({"192.0.2.1", "2001:db8::1", "::1", "unspec"}) do
    local conn = open()
    greet(conn, ip)
    mail(conn, "refuse")
    expect(conn, "a mail from " .. ip, SMFIR_REPLYCODE)
    mail(conn, "nothing")
    expect(conn, "a mail from " .. ip, SMFIR_CONTINUE)
    mt.disconnect(conn)
end

-- Odd paths: quoted, routed, without brackets, empty, with every parameter.
local conn = open()
greet(conn)
for _, path in ipairs({"<>", "", "alice@sender.example", "<\"a b\"@sender.example>", "<@x.example:a@sender.example>", "<a", "<" .. string.rep("a", 900) .. "@x.example>"}) do
    check("mail", mt.mailfrom(conn, path, "SIZE=10", "BODY=8BITMIME", "RET=HDRS", "SMTPUTF8"))
    expect(conn, "mail " .. path, SMFIR_CONTINUE)
    check("rcpt", mt.rcptto(conn, path, "NOTIFY=NEVER"))
    expect(conn, "rcpt " .. path, SMFIR_CONTINUE)
    check("abort", mt.abort(conn))
end
mt.disconnect(conn)
