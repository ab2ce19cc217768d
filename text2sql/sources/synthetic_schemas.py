"""The generated data set's schemas: 14 domains, five each, with English and Korean words for tables and columns.

Data only. Labels are singular noun phrases, so that "the highest {label}" and "whose {label} is above 3" read well;
Korean labels end in a Hangul syllable, because the particle after them depends on it. A column without an English
label is called by its own name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

SUMMABLE = ("SUM", "AVG", "MIN", "MAX")
AVERAGEABLE = ("AVG", "MIN", "MAX")


@dataclass(frozen=True)
class Column:
    """A column and what its cells are drawn from.

    kind: key (1, 2, …), code (text key), ref (key of another table), name (distinct text), category (repeating text),
    measure (number), year or date. Names, measures, years and dates never repeat within a table.
    """

    name: str
    kind: str
    type: str
    label: str
    korean: str
    values: Sequence = ()
    aggregates: tuple[str, ...] = ()
    nullable: bool = False
    table: str = ""
    repeats: bool = False

    @property
    def is_ordered(self) -> bool:
        """Whether rows can be sorted by it without ties or NULLs."""
        return self.kind in ("measure", "year", "date") and not self.nullable and not self.repeats


@dataclass(frozen=True)
class Table:
    """A table with its human names: `label` (English plural), `one` (English singular), `korean`, and `counter`, the
    Korean word that follows a number of its rows."""

    name: str
    korean: str
    columns: tuple[Column, ...]
    one: str
    counter: str
    label: str

    @cached_property
    def key(self) -> Column | None:
        """The primary key when it is one column."""
        return next((c for c in self.columns if c.kind in ("key", "code")), None)

    @cached_property
    def target(self) -> Column:
        """The key that foreign keys to this table refer to."""
        assert self.key, f"{self.name} is referred to and has no key of one column"
        return self.key

    @cached_property
    def refs(self) -> list[Column]:
        """Foreign keys to other tables."""
        return [c for c in self.columns if c.kind == "ref" and c.table != self.name]

    @cached_property
    def shown(self) -> list[Column]:
        """Columns that questions ask for or filter on."""
        return [c for c in self.columns if c.kind not in ("key", "ref")]

    @cached_property
    def identity(self) -> Column | None:
        """The column that tells one row from another in words: its name, else its key."""
        return next((c for c in self.columns if c.kind == "name"), self.key)

    @cached_property
    def categories(self) -> list[Column]:
        return [c for c in self.columns if c.kind == "category" and not c.nullable]

    @cached_property
    def measures(self) -> list[Column]:
        return [c for c in self.columns if c.kind == "measure"]

    @cached_property
    def ordered(self) -> list[Column]:
        return [c for c in self.columns if c.is_ordered]


@dataclass(frozen=True)
class Schema:
    """A database schema; its name is the `db_id` of every row about it. Tables stand after those they refer to."""

    name: str
    domain: str
    tables: tuple[Table, ...]

    @cached_property
    def by_name(self) -> dict[str, Table]:
        return {table.name: table for table in self.tables}

    @cached_property
    def relations(self) -> list[tuple[Table, Column, Table]]:
        """(child, foreign key, parent) for every foreign key between two tables."""
        return [(table, ref, self.by_name[ref.table]) for table in self.tables for ref in table.refs]

    @cached_property
    def paths(self) -> list[tuple[tuple[Table, Column, Table], tuple[Table, Column, Table]]]:
        """Pairs of relations that join three tables: two parents of one table, or parent and grandparent."""
        return [
            (first, second)
            for first in self.relations
            for second in self.relations
            if (second[0] is first[2]) or (second[0] is first[0] and first[1] is not second[1])
        ]

    @cached_property
    def create_tables(self) -> list[str]:
        """One CREATE TABLE statement for each table, without the closing semicolon."""
        return [self._create(table) for table in self.tables]

    def _create(self, table: Table) -> str:
        parts = []
        for column in table.columns:
            extra = ""
            if column.kind in ("key", "code"):
                extra = " PRIMARY KEY"
            elif column.kind == "ref":
                extra = f" REFERENCES {column.table}({self.by_name[column.table].target.name})"
            parts.append(f"{column.name} {column.type}{extra}")
        if table.key is None and len(table.refs) == 2:
            parts.append(f"PRIMARY KEY ({', '.join(ref.name for ref in table.refs)})")
        return f"CREATE TABLE {table.name} ({', '.join(parts)})"


def key(name: str, korean: str) -> Column:
    return Column(name, "key", "INTEGER", name.replace("_id", " ID").replace("_", " "), korean)


def code(name: str, korean: str, values: str) -> Column:
    return Column(name, "code", "TEXT", name.replace("_", " "), korean, words(values))


def ref(name: str, table: str, korean: str, type: str = "INTEGER", null: bool = False) -> Column:
    return Column(name, "ref", type, name.replace("_id", " ID").replace("_", " "), korean, table=table, nullable=null)


def named(name: str, korean: str, values: str, label: str = "") -> Column:
    return Column(name, "name", "TEXT", label or name.replace("_", " "), korean, words(values))


def cat(name: str, korean: str, values: str, label: str = "", null: bool = False) -> Column:
    return Column(name, "category", "TEXT", label or name.replace("_", " "), korean, words(values), nullable=null)


def num(
    name: str, korean: str, low: float, high: float, step: float = 1, label: str = "", null: bool = False
) -> Column:
    """A quantity that can be added up, such as an amount."""
    kind = "REAL" if isinstance(step, float) else "INTEGER"
    values = tuple(round(low + step * k, 2) for k in range(round((high - low) / step) + 1))
    return Column(name, "measure", kind, label or name.replace("_", " "), korean, values, SUMMABLE, null)


def level(
    name: str, korean: str, low: float, high: float, step: float = 1, label: str = "", null: bool = False
) -> Column:
    """A quantity whose sum means nothing, such as a temperature or an age."""
    column = num(name, korean, low, high, step, label, null)
    return Column(column.name, "measure", column.type, column.label, korean, column.values, AVERAGEABLE, null)


def year(name: str, korean: str, low: int, high: int, label: str = "") -> Column:
    return Column(name, "year", "INTEGER", label or name.replace("_", " "), korean, range(low, high + 1))


def day(name: str, korean: str, first: int, last: int, label: str = "", null: bool = False) -> Column:
    start, end = date(first, 1, 1), date(last, 12, 31)
    values = tuple((start + timedelta(days=k)).isoformat() for k in range((end - start).days + 1))
    return Column(name, "date", "DATE", label or name.replace("_", " "), korean, values, nullable=null)


def words(values: str) -> tuple[str, ...]:
    return tuple(values.split(", "))


def table(name: str, korean: str, *columns: Column, one: str = "") -> Table:
    label = name.replace("_", " ")
    one = one or (label[:-3] + "y" if label.endswith("ies") else label.removesuffix("s"))
    counter = next((word for word, tables in COUNTERS.items() if korean in tables), "건")
    return Table(name, korean, columns, one, counter, label)


def schema(domain: str, name: str, *tables: Table) -> Schema:
    return Schema(name, domain, tables)


PEOPLE = (
    "Mina Park, Jonas Weber, Aisha Khan, Leo Martin, Sofia Rossi, Daniel Kim, Emma Clark, Noah Silva, Yuki Tanaka, "
    "Omar Haddad, Grace Lee, Victor Novak, Hana Choi, Peter Olsen"
)
CITIES = "Seoul, Busan, Paris, Berlin, Tokyo, Lima, Oslo, Cairo, Boston, Madrid, Delhi, Quito"
COUNTRIES = "Korea, France, Brazil, Kenya, Japan"

COUNTERS = {  # 건 for what is not here
    "명": words(
        "개발자, 선수, 주자, 회원, 배송 기사, 우주 비행사, 고객, 담당자, 재배자, 판사, 변호사, 의뢰인, 운전자, 작가, "
        "감독, 진행자, 교수, 학생, 기부자, 의사, 환자, 디자이너, 모델, 가수, 사용자, 단원"
    ),
    "곳": words(
        "고객사, 창고, 기관, 정거장, 발전소, 회사, 유전, 유정, 지점, 농장, 구역, 교도소, 매장, 공급업체, 광고주, 병동, "
        "패션 하우스, 공연장"
    ),
    "개": words(
        "앱, 랙, 프로젝트, 팀, 대회, 슬로프, 소포, 품목, 별, 행성, 계좌, 펀드, 종자, 측정값, 상품, 회차, 채널, 캠페인, "
        "강의, 시험, 수업, 약품, 원단, 악기"
    ),
    "대": words("서버, 휴대폰, 리프트, 트럭, 충전기"),
    "편": words("항공편, 영화, 방송"),
    "벌": words("의상, 의류"),
    "척": words("선박"),
    "기": words("위성"),
    "채": words("주택"),
    "마리": words("젖소"),
    "종": words("와인"),
    "권": words("책"),
    "켤레": words("신발"),
    "장": words("앨범"),
    "곡": words("노래"),
}

SCHEMAS: tuple[Schema, ...] = (
    # technology
    schema(
        "technology",
        "app_store",
        table(
            "apps",
            "앱",
            key("app_id", "앱 번호"),
            named("name", "이름", "Pixly, Notera, Fitmo, Chordy, Mapza, Quizzo, Tripio, Budgeto, Snapdo, Readit"),
            cat("category", "분류", "games, tools, music, travel"),
            num("price", "가격", 1.0, 20.0, 0.5),
            day("released", "출시일", 2018, 2023, "release date"),
        ),
    ),
    schema(
        "technology",
        "server_room",
        table(
            "racks",
            "랙",
            key("rack_id", "랙 번호"),
            cat("room", "서버실", "north, south, east"),
            num("capacity", "수용량", 10, 60, 2),
        ),
        table(
            "servers",
            "서버",
            named("hostname", "호스트 이름", "atlas, borealis, comet, delta, ember, falcon, gamma, helios, iris, juno"),
            ref("rack_id", "racks", "랙 번호"),
            num("memory", "메모리", 8, 256, 8),
            day("installed", "설치일", 2019, 2024, "installation date"),
        ),
    ),
    schema(
        "technology",
        "bug_tracker",
        table(
            "developers",
            "개발자",
            key("developer_id", "개발자 번호"),
            named("name", "이름", PEOPLE),
            cat("team", "팀", "web, mobile, data"),
        ),
        table(
            "projects",
            "프로젝트",
            key("project_id", "프로젝트 번호"),
            named("title", "제목", "Orion, Lumen, Vertex, Harbor, Nimbus, Saffron, Quartz, Meadow"),
        ),
        table(
            "bugs",
            "버그",
            key("bug_id", "버그 번호"),
            ref("project_id", "projects", "프로젝트 번호"),
            ref("developer_id", "developers", "개발자 번호", null=True),
            cat("severity", "심각도", "low, medium, high"),
            num("hours", "소요 시간", 1, 40, label="number of hours"),
        ),
    ),
    schema(
        "technology",
        "phone_models",
        table(
            "phones",
            "휴대폰",
            named("model", "모델", "Nova 5, Zen 8, Arc 3, Peak 9, Wave 2, Flux 6, Echo 7, Bolt 4, Halo 1"),
            cat("brand", "브랜드", "Sonex, Lumia, Kato, Vivra"),
            level("screen", "화면 크기", 5.0, 7.0, 0.1, "screen size"),
            num("battery", "배터리 용량", 3000, 6000, 100, "battery capacity"),
            year("launch_year", "출시 연도", 2012, 2024),
        ),
    ),
    schema(
        "technology",
        "api_usage",
        table(
            "clients",
            "고객사",
            code("client_code", "고객사 코드", "ACME, BETA, CORE, DYNA, ECHO, FLUX, GRID, HIVE"),
            cat("plan", "요금제", "free, basic, pro"),
        ),
        table(
            "calls",
            "호출 기록",
            ref("client_code", "clients", "고객사 코드", "TEXT"),
            day("call_date", "호출일", 2022, 2024),
            num("requests", "요청 수", 100, 5000, 50, "number of requests"),
            num("errors", "오류 수", 1, 90, label="number of errors", null=True),
        ),
    ),
    # sports
    schema(
        "sports",
        "football_league",
        table(
            "teams",
            "팀",
            key("team_id", "팀 번호"),
            named("name", "이름", "Lions, Falcons, Sharks, Wolves, Dragons, Comets, Rangers, Pirates, Giants"),
            cat("city", "연고지", "Seoul, Busan, Daegu, Jeju"),
            year("founded", "창단 연도", 1900, 2010, "founding year"),
        ),
        table(
            "players",
            "선수",
            key("player_id", "선수 번호"),
            named("name", "이름", PEOPLE),
            ref("team_id", "teams", "팀 번호"),
            cat("position", "포지션", "forward, midfielder, defender, goalkeeper"),
            num("goals", "득점", 1, 40, label="number of goals"),
        ),
    ),
    schema(
        "sports",
        "city_marathon",
        table(
            "runners",
            "주자",
            key("bib", "참가 번호"),
            named("name", "이름", PEOPLE),
            cat("country", "국가", COUNTRIES),
            level("age", "나이", 18, 70),
            level("finish_time", "완주 시간", 130.0, 320.0, 0.5, null=True),
        ),
    ),
    schema(
        "sports",
        "tennis_tour",
        table(
            "players",
            "선수",
            key("player_id", "선수 번호"),
            named("name", "이름", PEOPLE),
            cat("country", "국가", COUNTRIES),
        ),
        table(
            "tournaments",
            "대회",
            key("tournament_id", "대회 번호"),
            named("title", "대회명", "Spring Open, Coast Cup, Royal Masters, Desert Classic, Alpine Open, Harbor Cup"),
            cat("surface", "코트 종류", "clay, grass, hard"),
        ),
        table(
            "entries",
            "출전 기록",
            ref("player_id", "players", "선수 번호"),
            ref("tournament_id", "tournaments", "대회 번호"),
            num("prize", "상금", 1000, 50000, 500),
        ),
    ),
    schema(
        "sports",
        "gym_club",
        table(
            "members",
            "회원",
            key("member_id", "회원 번호"),
            named("name", "이름", PEOPLE),
            cat("plan", "회원권", "day, month, year"),
            day("joined", "가입일", 2019, 2024, "joining date"),
            cat("trainer", "트레이너", "Kim, Lopez, Meyer", null=True),
        ),
    ),
    schema(
        "sports",
        "ski_resort",
        table(
            "slopes",
            "슬로프",
            named("slope", "슬로프명", "Eagle, Bear, Snowdrop, Thunder, Breeze, Glacier, Pine, Summit, Moonlight"),
            cat("difficulty", "난이도", "easy, medium, hard"),
            num("length", "길이", 300, 4000, 50),
            level("descent", "표고차", 50, 900, 10),
        ),
        table(
            "lifts",
            "리프트",
            key("lift_id", "리프트 번호"),
            cat("type", "종류", "chair, gondola, surface"),
            num("seats", "좌석 수", 2, 16, label="number of seats"),
            year("built", "건설 연도", 1970, 2020, "construction year"),
        ),
    ),
    # logistics
    schema(
        "logistics",
        "parcel_delivery",
        table(
            "couriers",
            "배송 기사",
            key("courier_id", "기사 번호"),
            named("name", "이름", PEOPLE),
            cat("vehicle", "차량", "bike, van, truck"),
        ),
        table(
            "parcels",
            "소포",
            key("parcel_id", "소포 번호"),
            ref("courier_id", "couriers", "기사 번호"),
            cat("city", "도시", "Seoul, Busan, Paris, Lima"),
            num("weight", "무게", 0.5, 30.0, 0.5),
            day("delivered", "배송일", 2022, 2024, "delivery date", null=True),
        ),
    ),
    schema(
        "logistics",
        "warehouse_stock",
        table(
            "warehouses",
            "창고",
            code("warehouse_code", "창고 코드", "W-01, W-02, W-03, W-04, W-05, W-06, W-07, W-08"),
            cat("region", "지역", "north, south, west"),
            num("area", "면적", 500, 9000, 100),
        ),
        table(
            "items",
            "품목",
            key("item_id", "품목 번호"),
            named("name", "이름", "bolt, cable, drill, filter, gasket, hammer, lamp, motor, pump, valve"),
            num("unit_price", "단가", 1.0, 90.0, 0.5),
        ),
        table(
            "stock_records",
            "재고",
            ref("warehouse_code", "warehouses", "창고 코드", "TEXT"),
            ref("item_id", "items", "품목 번호"),
            num("quantity", "수량", 5, 500, 5),
        ),
    ),
    schema(
        "logistics",
        "truck_fleet",
        table(
            "trucks",
            "트럭",
            code("plate", "차량 번호", "KA-101, KB-202, KC-303, KD-404, KE-505, KF-606, KG-707, KH-808"),
            cat("maker", "제조사", "Volvo, Hino, Scania"),
            num("mileage", "주행 거리", 5000, 400000, 1000),
            year("built", "제조 연도", 2005, 2023, "production year"),
        ),
    ),
    schema(
        "logistics",
        "sea_freight",
        table(
            "ships",
            "선박",
            key("ship_id", "선박 번호"),
            named("name", "이름", "Aurora, Bluefin, Caspian, Dorado, Everest, Fortuna, Galatea, Horizon"),
            cat("flag", "선적국", "Korea, Panama, Malta"),
            num("capacity", "적재량", 1000, 20000, 250),
        ),
        table(
            "voyages",
            "항해",
            ref("ship_id", "ships", "선박 번호"),
            cat("port", "도착항", "Busan, Rotterdam, Santos, Mumbai", "destination port"),
            day("departed", "출항일", 2021, 2024, "departure date"),
            num("containers", "컨테이너 수", 100, 5000, 20, "number of containers"),
        ),
    ),
    schema(
        "logistics",
        "air_cargo",
        table(
            "flights",
            "항공편",
            code("flight_code", "편명", "KE1, KE2, OZ3, OZ4, LH5, LH6, AF7, AF8"),
            cat("origin", "출발지", "Seoul, Frankfurt, Dubai"),
            cat("destination", "도착지", "Tokyo, Paris, Chicago"),
            num("cargo", "화물량", 1.0, 90.0, 0.5, "cargo weight"),
            num("delay", "지연 시간", 5, 240, 5, null=True),
        ),
    ),
    # space
    schema(
        "space",
        "space_missions",
        table(
            "agencies",
            "기관",
            key("agency_id", "기관 번호"),
            named("name", "이름", "NASA, ESA, JAXA, KARI, ISRO, CNES, DLR, ASI"),
            cat("continent", "대륙", "Asia, Europe, America"),
            num("budget", "예산", 200, 9000, 100),
        ),
        table(
            "missions",
            "임무",
            key("mission_id", "임무 번호"),
            named("title", "임무명", "Dawn, Pathfinder, Horizon, Voyager, Juno, Kepler, Danuri, Hera, Luna, Rosetta"),
            ref("agency_id", "agencies", "기관 번호"),
            cat("target", "목표 천체", "Moon, Mars, Sun"),
            day("launched", "발사일", 2005, 2024, "launch date"),
        ),
    ),
    schema(
        "space",
        "satellite_registry",
        table(
            "satellites",
            "위성",
            named("name", "이름", "Astra, Beacon, Cirrus, Draco, Electra, Fermi, Gaia, Hyperion, Indigo"),
            cat("orbit", "궤도", "low, medium, high"),
            cat("purpose", "용도", "weather, navigation, imaging"),
            num("mass", "질량", 50, 6000, 50),
            day("retired", "퇴역일", 2015, 2024, "retirement date", null=True),
        ),
    ),
    schema(
        "space",
        "planet_catalog",
        table(
            "stars",
            "별",
            code("star_code", "별 코드", "HD-10, HD-22, GJ-35, GJ-48, KOI-7, KOI-9, TOI-3, TOI-6"),
            level("temperature", "온도", 2500, 9000, 50),
        ),
        table(
            "planets",
            "행성",
            named("name", "이름", "Aegir, Brahe, Dagon, Fortis, Galileo, Janssen, Lipper, Orbitar, Poltergeist, Spe"),
            ref("star_code", "stars", "별 코드", "TEXT"),
            cat("type", "종류", "rocky, gas, ice"),
            level("radius", "반지름", 0.4, 14.0, 0.1),
            level("distance", "거리", 5, 2000, 5, null=True),
        ),
    ),
    schema(
        "space",
        "astronaut_corps",
        table(
            "astronauts",
            "우주 비행사",
            key("astronaut_id", "비행사 번호"),
            named("name", "이름", PEOPLE),
            cat("country", "국가", COUNTRIES),
            year("birth_year", "출생 연도", 1955, 1995),
        ),
        table(
            "stations",
            "정거장",
            key("station_id", "정거장 번호"),
            named("name", "이름", "Mir, Skylab, Tiangong, Gateway, Salyut, Columbus"),
            num("modules", "모듈 수", 1, 20, label="number of modules"),
        ),
        table(
            "stays",
            "체류 기록",
            ref("astronaut_id", "astronauts", "비행사 번호"),
            ref("station_id", "stations", "정거장 번호"),
            num("days", "체류 일수", 5, 400, 5, "number of days"),
        ),
    ),
    schema(
        "space",
        "telescope_log",
        table(
            "observations",
            "관측",
            key("observation_id", "관측 번호"),
            cat("telescope", "망원경", "Hale, Keck, Subaru"),
            cat("object", "관측 대상", "galaxy, nebula, comet, star"),
            day("observed", "관측일", 2020, 2024, "observation date"),
            level("magnitude", "등급", 1.0, 18.0, 0.1),
            num("exposure", "노출 시간", 10, 900, 10, "exposure time"),
        ),
    ),
    # energy
    schema(
        "energy",
        "power_plants",
        table(
            "plants",
            "발전소",
            key("plant_id", "발전소 번호"),
            named(
                "name", "이름", "Riverside, Hilltop, Eastgate, Sandbay, Northfield, Lakeview, Stonebridge, Goldcrest"
            ),
            cat("fuel", "연료", "coal, gas, solar, wind"),
            num("capacity", "설비 용량", 50, 2000, 10),
            year("opened", "가동 연도", 1970, 2023, "opening year"),
        ),
        table(
            "outages",
            "정전 기록",
            ref("plant_id", "plants", "발전소 번호"),
            day("outage_date", "정전일", 2021, 2024),
            num("hours", "지속 시간", 1, 72, label="number of hours"),
        ),
    ),
    schema(
        "energy",
        "solar_homes",
        table(
            "homes",
            "주택",
            key("home_id", "주택 번호"),
            cat("district", "구역", "Hillside, Riverbank, Downtown"),
            num("panels", "패널 수", 4, 60, label="number of panels"),
            num("output", "발전량", 10.0, 90.0, 0.5),
            num("battery", "배터리 용량", 5, 40, label="battery capacity", null=True),
        ),
    ),
    schema(
        "energy",
        "oil_fields",
        table(
            "companies",
            "회사",
            code("company_code", "회사 코드", "AXO, BRN, CYR, DLT, ENX, FOS, GRO, HYD"),
            cat("country", "국가", COUNTRIES),
        ),
        table(
            "fields",
            "유전",
            key("field_id", "유전 번호"),
            named("name", "이름", "Amber, Birch, Cobalt, Dune, Ekko, Fjord, Grane, Heron"),
            ref("company_code", "companies", "회사 코드", "TEXT"),
            level("depth", "깊이", 500, 6000, 50),
        ),
        table(
            "wells",
            "유정",
            key("well_id", "유정 번호"),
            ref("field_id", "fields", "유전 번호"),
            num("barrels", "생산량", 100, 9000, 50, "number of barrels"),
            cat("status", "상태", "active, closed, testing"),
        ),
    ),
    schema(
        "energy",
        "charging_network",
        table(
            "chargers",
            "충전기",
            code("charger_code", "충전기 코드", "C100, C101, C102, C103, C104, C105, C106, C107"),
            cat("city", "도시", "Seoul, Oslo, Berlin"),
            level("power", "출력", 7, 350),
        ),
        table(
            "sessions",
            "충전 내역",
            key("session_id", "내역 번호"),
            ref("charger_code", "chargers", "충전기 코드", "TEXT"),
            num("energy", "충전량", 5.0, 90.0, 0.5),
            num("cost", "요금", 2.0, 60.0, 0.5),
            day("session_date", "충전일", 2022, 2024),
        ),
    ),
    schema(
        "energy",
        "meter_readings",
        table(
            "readings",
            "검침 기록",
            cat("meter", "계량기", "M1, M2, M3"),
            day("read_date", "검침일", 2022, 2024, "reading date"),
            num("usage", "사용량", 50.0, 900.0, 2.5),
            level("voltage", "전압", 210, 240, null=True),
        ),
    ),
    # finance
    schema(
        "finance",
        "retail_bank",
        table(
            "customers",
            "고객",
            key("customer_id", "고객 번호"),
            named("name", "이름", PEOPLE),
            cat("city", "도시", "Seoul, Busan, Paris, Oslo"),
            level("age", "나이", 19, 80),
        ),
        table(
            "accounts",
            "계좌",
            key("account_id", "계좌 번호"),
            ref("customer_id", "customers", "고객 번호"),
            cat("type", "종류", "checking, savings, deposit"),
            num("balance", "잔액", 100, 90000, 100),
            day("opened", "개설일", 2015, 2024, "opening date"),
        ),
    ),
    schema(
        "finance",
        "stock_prices",
        table(
            "quotes",
            "시세",
            cat("symbol", "종목", "ABX, KRT, MNO, ZEN"),
            day("trade_date", "거래일", 2023, 2024),
            level("close", "종가", 10.0, 300.0, 0.5, "closing price"),
            num("volume", "거래량", 1000, 90000, 500),
        ),
    ),
    schema(
        "finance",
        "loan_office",
        table(
            "branches",
            "지점",
            key("branch_id", "지점 번호"),
            cat("city", "도시", "Seoul, Daegu, Incheon"),
            one="branch",
        ),
        table(
            "officers",
            "담당자",
            key("officer_id", "담당자 번호"),
            named("name", "이름", PEOPLE),
            ref("branch_id", "branches", "지점 번호"),
        ),
        table(
            "loans",
            "대출",
            key("loan_id", "대출 번호"),
            ref("officer_id", "officers", "담당자 번호"),
            num("amount", "금액", 1000, 80000, 500),
            level("rate", "이자율", 1.0, 12.0, 0.1, "interest rate"),
            day("repaid", "상환일", 2019, 2024, "repayment date", null=True),
        ),
    ),
    schema(
        "finance",
        "insurance_claims",
        table(
            "claims",
            "보험 청구",
            key("claim_id", "청구 번호"),
            cat("policy", "보험 종류", "car, home, travel, health"),
            cat("status", "상태", "open, paid, denied"),
            num("amount", "청구액", 100, 20000, 100),
            day("filed", "청구일", 2020, 2024, "filing date"),
            cat("adjuster", "조사원", "Choi, Diaz, Evans", null=True),
        ),
    ),
    schema(
        "finance",
        "fund_portfolio",
        table(
            "funds",
            "펀드",
            code("fund_code", "펀드 코드", "F-AA, F-BB, F-CC, F-DD, F-EE, F-FF, F-GG, F-HH"),
            cat("risk", "위험 등급", "low, medium, high"),
            level("fee", "수수료", 0.1, 3.0, 0.1),
            year("started", "설정 연도", 1995, 2022, "starting year"),
        ),
        table(
            "holdings",
            "보유 자산",
            ref("fund_code", "funds", "펀드 코드", "TEXT"),
            cat("asset", "자산", "bonds, stocks, gold, cash"),
            num("value", "평가액", 1000, 70000, 500),
        ),
    ),
    # agriculture
    schema(
        "agriculture",
        "farm_crops",
        table(
            "farms",
            "농장",
            key("farm_id", "농장 번호"),
            named("name", "이름", "Green Acre, Sunny Hill, Oak Valley, Red Barn, Blue Creek, Maple Farm, Stone Mill"),
            cat("region", "지역", "north, south, coast"),
        ),
        table(
            "harvests",
            "수확 기록",
            key("harvest_id", "수확 번호"),
            ref("farm_id", "farms", "농장 번호"),
            cat("crop", "작물", "rice, wheat, corn, barley"),
            num("tons", "수확량", 1.0, 80.0, 0.5, "number of tons"),
            year("season", "수확 연도", 2005, 2024, "season"),
        ),
    ),
    schema(
        "agriculture",
        "dairy_herd",
        table(
            "cows",
            "젖소",
            code("tag", "귀표", "D01, D02, D03, D04, D05, D06, D07, D08"),
            cat("breed", "품종", "Jersey, Holstein, Brown Swiss"),
            day("born", "출생일", 2014, 2022, "birth date"),
            num("milk", "우유 생산량", 8.0, 40.0, 0.5, "milk yield"),
            level("weight", "체중", 380, 760, 5, null=True),
        ),
    ),
    schema(
        "agriculture",
        "seed_market",
        table(
            "growers",
            "재배자",
            key("grower_id", "재배자 번호"),
            named("name", "이름", PEOPLE),
            cat("country", "국가", COUNTRIES),
        ),
        table(
            "seeds",
            "종자",
            key("seed_id", "종자 번호"),
            named("variety", "품종", "Amaro, Bellini, Corvus, Dorato, Emerald, Fiero, Goldie, Hokkai"),
            num("price", "가격", 2, 60),
        ),
        table(
            "orders",
            "주문",
            key("order_id", "주문 번호"),
            ref("grower_id", "growers", "재배자 번호"),
            ref("seed_id", "seeds", "종자 번호"),
            num("bags", "포대 수", 1, 50, label="number of bags"),
            day("ordered", "주문일", 2022, 2024, "order date"),
        ),
    ),
    schema(
        "agriculture",
        "greenhouse_sensors",
        table(
            "zones",
            "구역",
            key("zone_id", "구역 번호"),
            cat("plant", "식물", "tomato, pepper, lettuce"),
        ),
        table(
            "samples",
            "측정값",
            ref("zone_id", "zones", "구역 번호"),
            day("taken", "측정일", 2023, 2024, "sampling date"),
            level("temperature", "온도", 12.0, 36.0, 0.5),
            level("humidity", "습도", 30, 95),
        ),
    ),
    schema(
        "agriculture",
        "vineyard",
        table(
            "wines",
            "와인",
            named("label", "이름", "Alba, Bruma, Cielo, Duna, Estrella, Fiore, Girasol, Helena", "name"),
            cat("grape", "포도 품종", "Merlot, Syrah, Riesling"),
            year("vintage", "생산 연도", 1995, 2022),
            num("bottles", "병 수", 200, 9000, 100, "number of bottles"),
            level("score", "평점", 80, 99, null=True),
        ),
    ),
    # justice
    schema(
        "justice",
        "court_cases",
        table(
            "judges",
            "판사",
            key("judge_id", "판사 번호"),
            named("name", "이름", PEOPLE),
            cat("court", "법원", "district, high, family"),
            year("appointed", "임명 연도", 1990, 2022, "appointment year"),
        ),
        table(
            "cases",
            "사건",
            key("case_id", "사건 번호"),
            ref("judge_id", "judges", "판사 번호"),
            cat("type", "종류", "civil, criminal, tax"),
            day("filed", "접수일", 2017, 2023, "filing date"),
            day("closed", "종결일", 2020, 2024, "closing date", null=True),
        ),
    ),
    schema(
        "justice",
        "police_reports",
        table(
            "reports",
            "신고",
            key("report_id", "신고 번호"),
            cat("district", "관할 구역", "east, west, harbor, center"),
            cat("offense", "범죄 유형", "theft, fraud, assault"),
            day("reported", "신고일", 2021, 2024, "report date"),
            num("loss", "피해액", 50, 9000, 50, null=True),
        ),
    ),
    schema(
        "justice",
        "law_firm",
        table(
            "lawyers",
            "변호사",
            key("lawyer_id", "변호사 번호"),
            named("name", "이름", PEOPLE),
            cat("specialty", "전문 분야", "labor, family, patent"),
            num("fee", "시간당 수임료", 80, 600, 10, "hourly fee"),
        ),
        table(
            "clients",
            "의뢰인",
            key("client_id", "의뢰인 번호"),
            named("name", "이름", "Orbit Ltd, Pine Corp, Rivera, Santoro, Tula Inc, Umbra, Vega Bros, Wexler"),
            cat("city", "도시", "Seoul, Madrid, Boston"),
        ),
        table(
            "meetings",
            "상담",
            ref("lawyer_id", "lawyers", "변호사 번호"),
            ref("client_id", "clients", "의뢰인 번호"),
            day("held", "상담일", 2022, 2024, "meeting date"),
            num("minutes", "상담 시간", 15, 180, 5, "number of minutes"),
        ),
    ),
    schema(
        "justice",
        "prison_census",
        table(
            "prisons",
            "교도소",
            code("prison_code", "교도소 코드", "P1, P2, P3, P4, P5, P6, P7, P8"),
            cat("security", "보안 등급", "minimum, medium, maximum", "security level"),
            num("beds", "수용 정원", 100, 2000, 20, "number of beds"),
            num("inmates", "수감자 수", 80, 2200, 10, "number of inmates"),
        ),
    ),
    schema(
        "justice",
        "traffic_fines",
        table(
            "drivers",
            "운전자",
            key("driver_id", "운전자 번호"),
            named("name", "이름", PEOPLE),
            level("points", "벌점", 1, 60, null=True, label="number of penalty points"),
        ),
        table(
            "fines",
            "벌금",
            key("fine_id", "벌금 번호"),
            ref("driver_id", "drivers", "운전자 번호"),
            cat("reason", "사유", "speeding, parking, red light"),
            num("amount", "금액", 20, 600, 10),
        ),
    ),
    # retail
    schema(
        "retail",
        "grocery_store",
        table(
            "products",
            "상품",
            key("product_id", "상품 번호"),
            named(
                "name", "이름", "apple juice, brown rice, cheddar, dark bread, honey, olive oil, oat milk, pasta, tea"
            ),
            cat("aisle", "진열대", "dairy, bakery, drinks, pantry"),
            num("price", "가격", 1.0, 25.0, 0.25),
            num("stock", "재고", 5, 300, 5, "stock level"),
        ),
    ),
    schema(
        "retail",
        "online_orders",
        table(
            "customers",
            "고객",
            key("customer_id", "고객 번호"),
            named("name", "이름", PEOPLE),
            cat("tier", "등급", "bronze, silver, gold"),
        ),
        table(
            "orders",
            "주문",
            key("order_id", "주문 번호"),
            ref("customer_id", "customers", "고객 번호"),
            num("total", "총액", 10.0, 600.0, 2.5, "order value"),
            day("ordered", "주문일", 2022, 2024, "order date"),
            day("shipped", "배송일", 2022, 2024, "shipping date", null=True),
        ),
    ),
    schema(
        "retail",
        "book_shop",
        table(
            "authors",
            "작가",
            key("author_id", "작가 번호"),
            named("name", "이름", PEOPLE),
            cat("country", "국가", COUNTRIES),
        ),
        table(
            "books",
            "책",
            key("book_id", "책 번호"),
            named(
                "title", "제목", "Blue Door, Cold Sun, Glass City, Iron Sea, Last Train, Night Garden, Paper Moon, Salt"
            ),
            ref("author_id", "authors", "작가 번호"),
            num("price", "가격", 5, 60),
        ),
        table(
            "sales",
            "판매 기록",
            ref("book_id", "books", "책 번호"),
            day("sold", "판매일", 2023, 2024, "sale date"),
            num("copies", "판매 부수", 1, 90, label="number of copies"),
        ),
    ),
    schema(
        "retail",
        "shop_branches",
        table(
            "shops",
            "매장",
            named("shop", "매장명", "Alpha, Bravo, Canal, Dock, Elm, Forum, Grand, Hill"),
            cat("region", "지역", "north, south, east, west"),
            num("staff", "직원 수", 3, 60, label="number of staff"),
            num("revenue", "매출", 1000, 90000, 500),
        ),
    ),
    schema(
        "retail",
        "supplier_deals",
        table(
            "suppliers",
            "공급업체",
            code("supplier_code", "업체 코드", "S-ARK, S-BAY, S-COG, S-DEN, S-ELK, S-FIG, S-GEM, S-HUB"),
            cat("country", "국가", COUNTRIES),
            level("rating", "평점", 1.0, 5.0, 0.1),
        ),
        table(
            "deals",
            "계약",
            ref("supplier_code", "suppliers", "업체 코드", "TEXT"),
            cat("goods", "물품", "paper, glass, plastic"),
            num("units", "수량", 100, 5000, 50, "number of units"),
            level("discount", "할인율", 1, 40, null=True),
        ),
    ),
    # media
    schema(
        "media",
        "movie_database",
        table(
            "directors",
            "감독",
            key("director_id", "감독 번호"),
            named("name", "이름", PEOPLE),
            year("birth_year", "출생 연도", 1940, 1995),
        ),
        table(
            "movies",
            "영화",
            key("movie_id", "영화 번호"),
            named("title", "제목", "Arrow, Birdsong, Clockwork, Dust, Ember, Foxglove, Gravity, Harvest, Inkwell"),
            ref("director_id", "directors", "감독 번호"),
            cat("genre", "장르", "drama, comedy, action, horror"),
            level("rating", "평점", 1.0, 10.0, 0.1),
            one="movie",
        ),
    ),
    schema(
        "media",
        "news_articles",
        table(
            "articles",
            "기사",
            key("article_id", "기사 번호"),
            cat("section", "섹션", "politics, sports, culture, science"),
            cat("reporter", "기자", "Ahn, Bauer, Costa", null=True),
            day("published", "게재일", 2021, 2024, "publication date"),
            num("views", "조회 수", 100, 90000, 100, "number of views"),
        ),
    ),
    schema(
        "media",
        "podcast_shows",
        table(
            "hosts",
            "진행자",
            key("host_id", "진행자 번호"),
            named("name", "이름", PEOPLE),
        ),
        table(
            "shows",
            "방송",
            key("show_id", "방송 번호"),
            named("title", "제목", "Daybreak, Deep Talk, Fact Check, Mindful, Night Owl, Side Street, Tech Bites"),
            ref("host_id", "hosts", "진행자 번호"),
            cat("topic", "주제", "history, business, health"),
        ),
        table(
            "episodes",
            "회차",
            key("episode_id", "회차 번호"),
            ref("show_id", "shows", "방송 번호"),
            num("minutes", "재생 시간", 10, 120, label="number of minutes"),
            num("downloads", "다운로드 수", 200, 60000, 100, "number of downloads"),
        ),
    ),
    schema(
        "media",
        "video_channels",
        table(
            "channels",
            "채널",
            named("handle", "채널명", "byteclub, cookly, driftlab, earthnow, funfacts, gadgeto, hikers, inkart"),
            cat("language", "언어", "Korean, English, Spanish"),
            num("subscribers", "구독자 수", 1000, 900000, 1000, "number of subscribers"),
            day("created", "개설일", 2012, 2023, "creation date"),
        ),
    ),
    schema(
        "media",
        "ad_campaigns",
        table(
            "brands",
            "광고주",
            code("brand_code", "광고주 코드", "ALT, BIO, CAF, DUO, EON, FIZ, GEO, HUE"),
            cat("industry", "업종", "food, travel, tech"),
        ),
        table(
            "campaigns",
            "캠페인",
            key("campaign_id", "캠페인 번호"),
            ref("brand_code", "brands", "광고주 코드", "TEXT"),
            cat("medium", "매체", "radio, print, web"),
            num("cost", "비용", 500, 40000, 500),
            num("clicks", "클릭 수", 50, 9000, 50, "number of clicks", null=True),
        ),
    ),
    # education
    schema(
        "education",
        "university_courses",
        table(
            "professors",
            "교수",
            key("professor_id", "교수 번호"),
            named("name", "이름", PEOPLE),
            cat("department", "학과", "physics, history, biology"),
            num("salary", "급여", 40000, 120000, 1000),
        ),
        table(
            "courses",
            "강의",
            code("course_code", "강의 코드", "BIO1, BIO2, HIS1, HIS2, PHY1, PHY2, PHY3, HIS3"),
            ref("professor_id", "professors", "교수 번호"),
            num("credits", "학점", 1, 12, label="number of credits"),
            num("students", "수강생 수", 8, 200, label="number of students"),
        ),
    ),
    schema(
        "education",
        "school_grades",
        table(
            "students",
            "학생",
            key("student_id", "학생 번호"),
            named("name", "이름", PEOPLE),
            cat("class", "반", "1A, 1B, 2A"),
        ),
        table(
            "exams",
            "시험",
            key("exam_id", "시험 번호"),
            cat("subject", "과목", "math, art, science"),
            day("held", "시험일", 2023, 2024, "exam date"),
        ),
        table(
            "scores",
            "성적",
            ref("student_id", "students", "학생 번호"),
            ref("exam_id", "exams", "시험 번호"),
            level("points", "점수", 40, 100, label="number of points"),
        ),
    ),
    schema(
        "education",
        "library_loans",
        table(
            "loans",
            "대출 기록",
            key("loan_id", "대출 번호"),
            cat("title", "도서명", "Atlas, Botany, Chess, Dreams"),
            cat("branch", "분관", "main, west, campus"),
            day("borrowed", "대출일", 2022, 2023, "borrowing date"),
            day("returned", "반납일", 2023, 2024, "return date", null=True),
        ),
    ),
    schema(
        "education",
        "online_academy",
        table(
            "lessons",
            "수업",
            named("lesson", "수업명", "Algebra, Baking, Coding, Drawing, Essays, French, Guitar, History, Italian"),
            cat("level", "수준", "beginner, intermediate, advanced"),
            num("duration", "수업 시간", 10, 180, 5),
            level("rating", "평점", 1.0, 5.0, 0.1, null=True),
            num("learners", "수강생 수", 10, 5000, 10, "number of learners"),
        ),
    ),
    schema(
        "education",
        "scholarships",
        table(
            "donors",
            "기부자",
            key("donor_id", "기부자 번호"),
            named("name", "이름", PEOPLE),
            cat("sector", "부문", "private, public, church"),
        ),
        table(
            "grants",
            "장학금",
            ref("donor_id", "donors", "기부자 번호"),
            cat("field", "분야", "music, law, medicine, math"),
            num("amount", "금액", 500, 20000, 250),
            year("awarded", "수여 연도", 2000, 2024, "award year"),
        ),
    ),
    # healthcare
    schema(
        "healthcare",
        "clinic_visits",
        table(
            "doctors",
            "의사",
            key("doctor_id", "의사 번호"),
            named("name", "이름", PEOPLE),
            cat("specialty", "전공", "cardiology, pediatrics, surgery"),
        ),
        table(
            "patients",
            "환자",
            key("patient_id", "환자 번호"),
            named("name", "이름", "Ada Moss, Ben Cho, Cara Diaz, Dev Rao, Eli Stone, Fay Lin, Gus Hart, Ivy Roy"),
            level("age", "나이", 3, 90),
        ),
        table(
            "visits",
            "진료",
            key("visit_id", "진료 번호"),
            ref("doctor_id", "doctors", "의사 번호"),
            ref("patient_id", "patients", "환자 번호"),
            num("cost", "비용", 20, 900, 10),
        ),
    ),
    schema(
        "healthcare",
        "hospital_wards",
        table(
            "wards",
            "병동",
            named("ward", "병동명", "Cedar, Daisy, Fern, Ivy, Lotus, Maple, Orchid, Willow"),
            cat("floor", "층", "first, second, third"),
            num("beds", "병상 수", 6, 60, label="number of beds"),
            num("nurses", "간호사 수", 2, 30, label="number of nurses"),
            num("patients", "환자 수", 1, 58, label="number of patients"),
        ),
    ),
    schema(
        "healthcare",
        "pharmacy",
        table(
            "drugs",
            "약품",
            code("drug_code", "약품 코드", "AX1, BX2, CX3, DX4, EX5, FX6, GX7, HX8"),
            cat("form", "제형", "tablet, syrup, cream"),
            num("price", "가격", 1.0, 80.0, 0.5),
            day("expires", "유효 기한", 2024, 2027, "expiry date"),
        ),
        table(
            "prescriptions",
            "처방",
            key("prescription_id", "처방 번호"),
            ref("drug_code", "drugs", "약품 코드", "TEXT"),
            num("doses", "투여 횟수", 1, 60, label="number of doses"),
            day("issued", "처방일", 2021, 2024, "issue date"),
        ),
    ),
    schema(
        "healthcare",
        "vaccination",
        table(
            "shots",
            "접종",
            key("shot_id", "접종 번호"),
            cat("vaccine", "백신", "flu, polio, measles, tetanus"),
            cat("clinic", "의원", "Hope, Grace, Unity"),
            day("given", "접종일", 2020, 2024, "vaccination date"),
            level("age", "나이", 1, 85),
        ),
    ),
    schema(
        "healthcare",
        "lab_results",
        table(
            "patients",
            "환자",
            key("patient_id", "환자 번호"),
            cat("blood_type", "혈액형", "A, B, AB, O"),
            year("birth_year", "출생 연도", 1935, 2015),
        ),
        table(
            "tests",
            "검사",
            ref("patient_id", "patients", "환자 번호"),
            cat("test", "검사 항목", "glucose, iron, sodium", "test type"),
            level("result", "결과", 10.0, 200.0, 0.5, null=True),
            day("tested", "검사일", 2022, 2024, "test date"),
        ),
    ),
    # fashion
    schema(
        "fashion",
        "clothing_line",
        table(
            "designers",
            "디자이너",
            key("designer_id", "디자이너 번호"),
            named("name", "이름", PEOPLE),
            cat("city", "도시", "Milan, Paris, Seoul"),
            level("experience", "경력", 1, 40),
        ),
        table(
            "garments",
            "의상",
            key("garment_id", "의상 번호"),
            ref("designer_id", "designers", "디자이너 번호"),
            cat("type", "종류", "coat, dress, shirt, skirt"),
            cat("color", "색상", "red, black, white"),
            num("price", "가격", 20, 900, 10),
        ),
    ),
    schema(
        "fashion",
        "shoe_shop",
        table(
            "shoes",
            "신발",
            named("model", "모델", "Aero, Boulder, Canyon, Dash, Edge, Flow, Glide, Hiker, Icon"),
            cat("material", "소재", "leather, canvas, suede"),
            level("size", "사이즈", 35, 47),
            num("price", "가격", 20.0, 300.0, 2.5),
            day("restocked", "입고일", 2023, 2024, "restocking date"),
        ),
    ),
    schema(
        "fashion",
        "runway_shows",
        table(
            "houses",
            "패션 하우스",
            key("house_id", "하우스 번호"),
            named("name", "이름", "Alva, Bellis, Corsa, Devi, Elan, Fauve, Gemma, Hanbit"),
            year("founded", "설립 연도", 1900, 2015, "founding year"),
        ),
        table(
            "models",
            "모델",
            key("model_id", "모델 번호"),
            named("name", "이름", PEOPLE),
            level("height", "키", 165, 195),
        ),
        table(
            "walks",
            "출연 기록",
            ref("house_id", "houses", "하우스 번호"),
            ref("model_id", "models", "모델 번호"),
            cat("season", "시즌", "spring, summer, autumn, winter"),
            num("fee", "출연료", 500, 9000, 100),
        ),
    ),
    schema(
        "fashion",
        "fabric_store",
        table(
            "fabrics",
            "원단",
            code("fabric_code", "원단 코드", "FB1, FB2, FB3, FB4, FB5, FB6, FB7, FB8"),
            cat("material", "소재", "cotton, silk, wool, linen"),
            cat("pattern", "무늬", "plain, striped, floral", null=True),
            num("meters", "길이", 5.0, 120.0, 0.5, "length"),
            num("price", "가격", 2, 70),
        ),
    ),
    schema(
        "fashion",
        "rental_closet",
        table(
            "outfits",
            "의류",
            key("outfit_id", "의류 번호"),
            cat("style", "스타일", "formal, casual, sporty"),
            cat("size", "사이즈", "S, M, L"),
            num("daily_fee", "하루 대여료", 5, 90),
        ),
        table(
            "rentals",
            "대여",
            key("rental_id", "대여 번호"),
            ref("outfit_id", "outfits", "의류 번호"),
            day("rented", "대여일", 2022, 2024, "rental date"),
            num("days", "대여 일수", 1, 21, label="number of days"),
        ),
    ),
    # music
    schema(
        "music",
        "record_label",
        table(
            "artists",
            "가수",
            key("artist_id", "가수 번호"),
            named(
                "name", "이름", "Amber Sky, Blue Echo, Cora Lane, Dusk, Electra, Fable, Ghostly, Halcyon, Indigo Kid"
            ),
            cat("genre", "장르", "jazz, rock, folk"),
            year("debut", "데뷔 연도", 1980, 2022, "debut year"),
        ),
        table(
            "albums",
            "앨범",
            key("album_id", "앨범 번호"),
            named("title", "제목", "After Rain, Bloom, Circles, Drift, Echoes, First Light, Gold, Home, Islands"),
            ref("artist_id", "artists", "가수 번호"),
            num("copies", "판매량", 500, 90000, 500, "number of copies"),
            day("released", "발매일", 2015, 2024, "release date"),
        ),
    ),
    schema(
        "music",
        "concert_halls",
        table(
            "halls",
            "공연장",
            key("hall_id", "공연장 번호"),
            named("name", "이름", "Apollo, Bellevue, Cantata, Domus, Elysium, Forum, Globe"),
            cat("city", "도시", "Seoul, Vienna, Tokyo"),
            num("seats", "좌석 수", 200, 5000, 50, "number of seats"),
        ),
        table(
            "concerts",
            "공연",
            key("concert_id", "공연 번호"),
            ref("hall_id", "halls", "공연장 번호"),
            cat("genre", "장르", "opera, jazz, pop"),
            day("held", "공연일", 2022, 2024, "concert date"),
            num("tickets", "판매된 표 수", 50, 4000, 50, "number of tickets", null=True),
        ),
    ),
    schema(
        "music",
        "playlist_app",
        table(
            "users",
            "사용자",
            key("user_id", "사용자 번호"),
            named("name", "이름", PEOPLE),
            cat("plan", "요금제", "free, family, premium"),
        ),
        table(
            "songs",
            "노래",
            key("song_id", "노래 번호"),
            named("title", "제목", "Aurora, Breathe, Cascade, Daylight, Embers, Feather, Golden, Horizon"),
            num("seconds", "재생 시간", 90, 420, 5, "number of seconds"),
        ),
        table(
            "plays",
            "재생 기록",
            ref("user_id", "users", "사용자 번호"),
            ref("song_id", "songs", "노래 번호"),
            num("times", "재생 횟수", 1, 90, label="number of times played"),
            day("last_played", "마지막 재생일", 2023, 2024, "last play date"),
        ),
    ),
    schema(
        "music",
        "instrument_shop",
        table(
            "instruments",
            "악기",
            key("instrument_id", "악기 번호"),
            cat("type", "종류", "guitar, piano, violin, drum"),
            cat("maker", "제조사", "Yama, Stein, Fendo"),
            num("price", "가격", 100, 9000, 50),
            year("made", "제작 연도", 1950, 2023, "production year"),
        ),
    ),
    schema(
        "music",
        "choir_members",
        table(
            "singers",
            "단원",
            key("singer_id", "단원 번호"),
            named("name", "이름", PEOPLE),
            cat("voice", "성부", "soprano, alto, tenor, bass"),
            ref("mentor_id", "singers", "지도 단원 번호", null=True),
            day("joined", "입단일", 2012, 2024, "joining date"),
        ),
    ),
)
