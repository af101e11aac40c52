"""Prints the rank table that HCCL wants, from the MPI world:  mpirun -n 8 python -m launch.ranktable [--output FILE]

With --output it is written to a file. With --rank_table FILE a table that exists is checked against the world instead.
Not run on hardware: tried with simulated hosts and hccn.conf files.
"""

import json
import os
import sys
from pathlib import Path

from cellwright.launch.host.rank_table import HCCN_CONF, build_table, check_table, gather_members
from cellwright.launch.settings.output_file import check_output


def main(arguments=None):
    from cellwright.launch.host.mpi_world import open_world
    from cellwright.launch.settings.flag_parser import Parser

    parser = Parser(prog="python -m launch.ranktable", description=__doc__.partition(":  ")[0])
    parser.add_argument("--output", help="write the table to this file")
    parser.add_argument("--rank_table", default=os.environ.get("RANK_TABLE_FILE"), help="check this table instead")
    parser.add_argument("--hccn_conf", default=HCCN_CONF, help="where each server keeps its devices' addresses")
    given = parser.parse_args(arguments)
    world = open_world()
    try:
        world.on_rank_0(lambda: check_output("--output", given.output))
        members = gather_members(world, given.hccn_conf)
        complaints, table = [], None
        if given.rank_table:
            complaints = check_table(json.loads(Path(given.rank_table).read_text()), members, given.rank_table)
        else:
            table = json.dumps(build_table(members), indent=2)
    except (OSError, ValueError) as error:
        complaints, table = [str(error)], None
    if world.rank == 0:
        for line in complaints:
            sys.stderr.write(f"python -m launch.ranktable: {line}\n")
        if table and given.output:
            Path(given.output).write_text(table + "\n", encoding="utf-8")
        elif table:
            print(table)
        elif not complaints:
            print(f"{given.rank_table} fits this world of {world.size} ranks")
    return 2 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
