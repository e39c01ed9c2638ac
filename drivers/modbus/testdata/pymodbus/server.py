"""A Modbus TCP server for the interoperability test: python3 server.py PORT.

Holding registers 0-199 hold 3*address+1, input registers 0-99 hold
7*address+2, every third coil and discrete input is on. Addresses beyond are
answered with exception 2.
"""
import sys

from pymodbus.datastore import ModbusSequentialDataBlock as Block
from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartTcpServer

unit = ModbusSlaveContext(
    hr=Block(0, [3 * a + 1 for a in range(200)]),
    ir=Block(0, [7 * a + 2 for a in range(100)]),
    co=Block(0, [a % 3 == 0 for a in range(40)]),
    di=Block(0, [a % 3 == 0 for a in range(40)]),
    zero_mode=True,  # addresses as on the wire
)
StartTcpServer(
    context=ModbusServerContext(slaves={1: unit}, single=False),
    address=("127.0.0.1", int(sys.argv[1])),
)
