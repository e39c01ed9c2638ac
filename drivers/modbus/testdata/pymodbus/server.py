"""A Modbus server for the interoperability test: python3 server.py PORT over
TCP, or python3 server.py /dev/... over a serial line at 115200 8N1.

Holding registers 0-199 hold 3*address+1, input registers 0-99 hold
7*address+2, every third coil and discrete input is on. Addresses beyond are
answered with exception 2.
"""
import sys

from pymodbus.datastore import ModbusSequentialDataBlock as Block
from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartSerialServer, StartTcpServer
from pymodbus.transaction import ModbusRtuFramer

unit = ModbusSlaveContext(
    hr=Block(0, [3 * a + 1 for a in range(200)]),
    ir=Block(0, [7 * a + 2 for a in range(100)]),
    co=Block(0, [a % 3 == 0 for a in range(40)]),
    di=Block(0, [a % 3 == 0 for a in range(40)]),
    zero_mode=True,  # addresses as on the wire
)
context = ModbusServerContext(slaves={1: unit}, single=False)
where = sys.argv[1]
if where.startswith("/"):
    StartSerialServer(
        context=context, framer=ModbusRtuFramer, port=where, baudrate=115200, parity="N", timeout=0.05
    )
else:
    StartTcpServer(context=context, address=("127.0.0.1", int(where)))
