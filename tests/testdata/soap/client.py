"""A client of CSTA over SOAP with zeep: python3 client.py URL CERTIFICATE PASSWORD FOLDER

It keeps every envelope of the proxy in the folder.
"""

import http.server
import os
import sys
import threading

import requests
import zeep

url, certificate, password, folder = sys.argv[1:5]
wsdl = url + "/csta/ed3?wsdl"
kept = threading.Lock()


def keep(data):
    with kept:
        name = os.path.join(folder, "zeep%03d.xml" % len(os.listdir(folder)))
        with open(name, "wb") as file:
            file.write(data)


class Transport(zeep.transports.Transport):
    def post(self, address, message, headers):
        response = super().post(address, message, headers)
        if response.content:
            keep(response.content)
        return response


session = requests.Session()
session.trust_env = False  # no proxy and no certificates from the environment
session.verify = certificate or True
question = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><RequestSystemStatus xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"/></s:Body></s:Envelope>'
first = session.post(url + "/csta", data=question, headers={"Content-Type": "text/xml"})
assert first.status_code == 401 and "Basic " in first.headers["WWW-Authenticate"], first.status_code
session.auth = ("crm", password)
client = zeep.Client(wsdl, transport=Transport(session=session))
sinks = zeep.Client(wsdl + "=events", transport=Transport(session=session))
services = {}
for port in client.wsdl.services["CSTAService"].ports:
    bound = client.bind("CSTAService", port)
    for operation in bound._operations:
        assert operation not in services, operation
        services[operation] = bound[operation]

# the sink of events

pushed, grown = [], threading.Condition()


class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        keep(data)
        with grown:
            pushed.append((self.path, self.headers, data))
            grown.notify_all()
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
threading.Thread(target=server.serve_forever, daemon=True).start()
sink = "http://127.0.0.1:%d" % server.server_port


def arrived(n):
    """returns the first n messages that came to the sink: path, headers and the document"""
    with grown:
        assert grown.wait_for(lambda: len(pushed) >= n, 60), pushed
        return pushed[:n]


def body_of(data):
    envelope = zeep.loader.parse_xml(data, None)
    return envelope[-1][0]


acknowledged = 0


def pull(*wanted):
    """takes events until each of those that are wanted has come, in this order, and returns them"""
    global acknowledged
    found = []
    while len(found) < len(wanted):
        answer = services["GetEvents"](acknowledge=acknowledged, waitSeconds=20)
        assert not answer.lost and answer.event, (wanted, found)
        for entry in answer.event:
            assert entry.number == acknowledged + 1, entry
            acknowledged = entry.number
            name = next(key for key in entry if key != "number" and entry[key] is not None)
            history.append(name)
            if name == wanted[len(found)]:
                found.append(entry[name])
                if len(found) == len(wanted):
                    return found  # the others come with the next GetEvents only if they are acknowledged
    return found


def device(text):
    return {"callID": call.callID, "deviceID": text}


# the conversation

history = []
granted = services["Subscribe"](Delivery={"NotifyTo": {"Address": sink + "/events"}}, EndTo={"Address": sink + "/end"}, Expires="PT5M")
assert granted.Expires == "PT300S", granted
monitor = services["MonitorStart"](monitorObject={"deviceObject": "1001"}).monitorCrossRefID
call = services["MakeCall"](callingDevice="1000", calledDirectoryNumber="1001", autoOriginate="doNotPrompt").callingDevice
(delivered,) = pull("DeliveredEvent")
assert delivered.monitorCrossRefID == monitor, delivered
assert delivered.callingDevice.deviceIdentifier._value_1 == "1000", delivered
services["AnswerCall"](callToBeAnswered=device("1001"))
pull("EstablishedEvent")
services["HoldCall"](callToBeHeld=device("1001"))
pull("HeldEvent")
services["RetrieveCall"](callToBeRetrieved=device("1001"))
pull("RetrievedEvent")
consulted = services["ConsultationCall"](existingCall=device("1001"), consultedDevice="1002").initiatedCall
services["AnswerCall"](callToBeAnswered={"callID": consulted.callID, "deviceID": "1002"})
taken = services["SnapshotDevice"](snapshotObject="1001").crossRefIDorSnapshotData.snapshotData.snapshotDeviceResponseInfo
assert len(taken) == 2, taken
services["TransferCall"](heldCall=device("1001"), activeCall={"callID": consulted.callID, "deviceID": "1001"})
(transferred,) = pull("TransferedEvent")
assert transferred.transferringDevice.deviceIdentifier._value_1 == "1001", transferred

# what was pushed is what was pulled, in the same order

for (path, headers, data), name in zip(arrived(len(history)), history):
    found = body_of(data)
    assert found.tag.endswith("}" + name), (found.tag, name)
    assert path == "/events" and headers["SOAPAction"] == '"urn:tr87proxy:csta-events:ed3:%s"' % name, headers
    assert sinks.wsdl.types.deserialize(found).monitorCrossRefID == monitor

# refusals

try:
    services["MakeCall"](callingDevice="99999", calledDirectoryNumber="1001")
    raise AssertionError("no fault")
except zeep.exceptions.Fault as fault:
    assert fault.message.startswith("operation/invalid"), fault.message
    detail = client.get_element("{http://www.ecma-international.org/standards/ecma-323/csta/ed3}CSTAErrorCode").parse(fault.detail[0], client.wsdl.types)
    assert detail.operation == fault.message.split("/")[1], detail

# the subscription: by the address of the answer, and by its identifier

identifier = granted.SubscriptionManager.ReferenceParameters._value_1[0]
manager = client.create_service("{urn:tr87proxy:csta-wsdl:ed3}EventSourceBinding", granted.SubscriptionManager.Address)
assert manager.Renew(Expires="PT10M") == "PT600S"
left = services["GetStatus"](_soapheaders={"identifier": identifier})
assert left.startswith("PT") and left.endswith("S"), left
services["Subscribe"](Delivery={"NotifyTo": {"Address": sink + "/two"}}, EndTo={"Address": sink + "/end"})
manager.Unsubscribe()
try:
    manager.GetStatus()
    raise AssertionError("no fault")
except zeep.exceptions.Fault as fault:
    assert "no such subscription" in fault.message, fault.message
services["MonitorStop"](monitorCrossRefID=monitor)

# an application session has monitors of its own

started = services["StartApplicationSession"](
    applicationInfo={"applicationID": "zeep"}, requestedProtocolVersions={"protocolVersion": ["http://www.ecma-international.org/standards/ecma-323/csta/ed3"]})
header = {"session": {"sessionID": started.sessionID}}
services["MonitorStart"](monitorObject={"deviceObject": "1002"}, _soapheaders=header)
services["ResetApplicationSessionTimer"](sessionID=started.sessionID, requestedSessionDuration=60, _soapheaders=header)
services["Subscribe"](Delivery={"NotifyTo": {"Address": sink + "/session"}}, EndTo={"Address": sink + "/end"}, _soapheaders=header)
services["StopApplicationSession"](sessionID=started.sessionID, sessionEndReason={"definedEndReason": "normal"}, _soapheaders=header)
with grown:
    assert grown.wait_for(lambda: any(path == "/end" for path, _, _ in pushed), 60), pushed
path, headers, data = next(one for one in pushed if one[0] == "/end")
assert headers["SOAPAction"] == '"http://schemas.xmlsoap.org/ws/2004/08/eventing/SubscriptionEnd"', headers
end = sinks.wsdl.types.deserialize(body_of(data))
assert end.Status.endswith("/SourceCanceling"), end
try:
    session.cookies.clear()
    services["MonitorStart"](monitorObject={"deviceObject": "1002"}, _soapheaders=header)
    raise AssertionError("no fault")
except zeep.exceptions.Fault as fault:
    assert fault.message.startswith("security/generic: there is no such session"), fault.message

print("done")
