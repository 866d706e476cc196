-- What the scripts share. miltertest(8) simulates the MTA; `socket` is given with -D.

-- What Postfix 3.7 offers.
POSTFIX_ACTIONS = 0x1ff
POSTFIX_STEPS = 0x1fffff

NAMES = {
    [SMFIR_ACCEPT] = "accept", [SMFIR_CONTINUE] = "continue", [SMFIR_DISCARD] = "discard",
    [SMFIR_REJECT] = "reject", [SMFIR_REPLYCODE] = "replycode", [SMFIR_SKIP] = "skip",
    [SMFIR_TEMPFAIL] = "tempfail",
}

-- miltertest exits with 1 for an error and tells none, so it is told here.
function fail(text)
    print(debug.traceback(text, 2))
    error(text, 0)
end

function check(what, failed)
    if failed ~= nil then
        fail(what .. ": " .. tostring(failed))
    end
end

function expect(conn, what, reply)
    local found = mt.getreply(conn)
    if found ~= reply then
        fail(what .. ": " .. tostring(NAMES[found] or found) .. " instead of " .. NAMES[reply])
    end
end

function is(what, condition)
    if not condition then
        fail(what .. ": is not so")
    end
end

-- A connection negotiated as by Postfix, or with less on offer.
function open(actions, steps)
    local conn = mt.connect(socket, 50, 0.1)
    is("a connection", conn ~= nil)
    -- Its manual has the last two the other way round.
    check("negotiation", mt.negotiate(conn, 6, steps or POSTFIX_STEPS, actions or POSTFIX_ACTIONS))
    return conn
end

-- Up to HELO.
function greet(conn, ip)
    check("connect", mt.conninfo(conn, "client.example", ip or "192.0.2.1"))
    expect(conn, "connect", SMFIR_CONTINUE)
    check("helo", mt.helo(conn, "client.example"))
end

-- MAIL and RCPTs, as Postfix would send them with their macros.
function envelope(conn, sender, ...)
    check("mail", mt.mailfrom(conn, "<" .. sender .. ">", "SIZE=500"))
    expect(conn, "mail", SMFIR_CONTINUE)
    for _, recipient in ipairs({...}) do
        check("macros", mt.macro(conn, SMFIC_RCPT, "{rcpt_mailer}", "relay", "i", "92F9E9C290F"))
        check("rcpt", mt.rcptto(conn, "<" .. recipient .. ">"))
        expect(conn, "rcpt", SMFIR_CONTINUE)
    end
    check("data", mt.data(conn))
    expect(conn, "data", SMFIR_CONTINUE)
end

-- Headers as { {name, value}, … }, a body, and the end.
function content(conn, headers, body)
    for _, header in ipairs(headers) do
        -- With SMFIP_HDR_LEADSPC the blank behind the colon is the MTA's to send.
        check("header", mt.header(conn, header[1], " " .. header[2]))
    end
    check("end of header", mt.eoh(conn))
    if body then
        check("body", mt.bodystring(conn, body))
    end
    check("end of message", mt.eom(conn))
end

-- A whole mail that asks for one of the rules.
function mail(conn, what)
    envelope(conn, "alice@sender.example", "bob@test.example")
    content(conn, {{"From", "alice@sender.example"}, {"Subject", "an ordinary mail"}, {"X-Do", what}}, "Hello.\r\n")
end
