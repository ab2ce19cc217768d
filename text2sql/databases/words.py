"""Words that text columns are filled with, by what the column's name says it holds, so that rows can be read."""

import re
from functools import cache

ENGLISH = {
    "first": "Ada Ben Clara David Elena Felix Grace Hugo Ines Jonas Kate Liam Maya Noah Olivia Paul Quentin Rosa Simon "
    "Tara Uma Victor Wendy Xavier Yara",
    "family": "Adams Baker Chen Davis Evans Fischer Garcia Hughes Ito Jensen Khan Lopez Meyer Novak Okafor Patel Quinn "
    "Rossi Silva Tanaka Usman Vargas Walker Young Zhang",
    "person": "Ada Adams, Ben Baker, Clara Chen, David Davis, Elena Evans, Felix Fischer, Grace Garcia, Hugo Hughes, "
    "Ines Ito, Jonas Jensen, Kate Khan, Liam Lopez, Maya Meyer, Noah Novak, Olivia Okafor, Paul Patel, Rosa Quinn, "
    "Simon Rossi, Tara Silva, Uma Tanaka, Victor Usman, Wendy Vargas, Xavier Walker, Yara Young, Zoe Zhang",
    "city": "Amsterdam Berlin Cairo Dublin Edinburgh Florence Geneva Helsinki Istanbul Jakarta Kyoto Lisbon Madrid "
    "Nairobi Oslo Prague Quito Rome Seoul Toronto Utrecht Vienna Warsaw York Zurich",
    "country": "Austria Brazil Canada Denmark Egypt France Germany Hungary India Japan Kenya Latvia Mexico Norway Oman "
    "Peru Qatar Romania Spain Turkey Uganda Vietnam Wales Yemen Zambia",
    "company": "Acme Borealis Cobalt Delta Everest Fabrikam Globex Horizon Initech Jupiter Keystone Lumen Meridian "
    "Northwind Orbit Pinnacle Quantum Redwood Summit Trident Umbra Vertex Westfield Xenon Zenith",
    "title": "Aurora, Blue Hour, Crossing, Daylight, Echoes, First Snow, Gravity, Home Again, Island, Journey, Kites, "
    "Lanterns, Morning, Nightfall, Open Road, Paper Moon, Quiet, Rivers, Starlight, Tides, Undertow, Voyage, "
    "Winter Sun, Young Hearts, Zephyr",
    "street": "Ash Lane, Bridge Road, Church Street, Dale Avenue, East Street, Field Road, Garden Lane, High Street, "
    "Ivy Court, Jubilee Road, King Street, Lake View, Mill Lane, North Road, Oak Avenue, Park Lane, Queen Street, "
    "River Road, School Lane, Tower Hill, Union Street, Vale Road, West Street, Yew Close, Zion Hill",
    "email": "ada ben clara david elena felix grace hugo ines jonas kate liam maya noah olivia paul quentin rosa simon "
    "tara uma victor wendy xavier yara",
    "plain": "Alder Birch Cedar Dogwood Elm Fir Ginkgo Hazel Iris Juniper Kapok Larch Maple Nutmeg Oak Pine Quince "
    "Rowan Spruce Teak Umber Viola Willow Yew Zelkova",
}
KOREAN = {
    "first": "가온 나래 다은 라희 민준 바다 서연 아름 지민 채원 태오 하윤 현우 도윤 예준 시우 주원 수아 지우 "
    "은서 건우 유나 소율 지호 윤서",
    "family": "김 이 박 최 정 강 조 윤 장 임 한 오 서 신 권 황 안 송 류 전 홍 고 문 양 손",
    "person": "김민준 이서연 박지민 최하윤 정현우 강도윤 조예준 윤시우 장주원 임수아 한지우 오은서 서건우 "
    "신유나 권소율 황지호 안윤서 송채원 류태오 전다은 홍나래 고가온 문아름 양바다 손라희",
    "city": "서울 부산 대구 인천 광주 대전 울산 세종 수원 성남 고양 용인 창원 청주 전주 천안 포항 제주 김해 "
    "평택 안양 춘천 강릉 여수 목포",
    "country": "대한민국 일본 중국 미국 캐나다 영국 프랑스 독일 이탈리아 스페인 브라질 호주 인도 태국 베트남 "
    "터키 이집트 케냐 멕시코 페루 노르웨이 스웨덴 핀란드 폴란드 체코",
    "company": "가람전자 나루상사 다온물산 라온소프트 마루건설 바른식품 새봄유통 아람기계 자연화학 차오름 "
    "카나리아 타래섬유 파란미디어 하늘항공 한빛제약 도담출판 누리통신 두레농산 미르에너지 보람금융 "
    "소담가구 예솔음반 은하조선 참좋은약국 푸른숲",
    "title": "새벽 푸른밤 첫눈 나그네 바람의길 봄날 여름비 가을편지 겨울바다 별빛 고요 강물 달그림자 등불 "
    "먼여행 하루 오래된집 꽃길 숲속 섬 파도 노을 기억 약속 귀향",
    "plain": "가람 나루 다솜 라온 마루 바름 사랑 아라 자람 차오름 카온 타래 파랑 하늘 해솔 달빛 별하 구름 이슬 "
    "단비 노을 새벽 여울 물결 솔잎",
}  # fmt: skip
_HOLDS = (
    ("email", r"e_?mail|이메일"),
    ("first", r"^(f|first|given|middle|nick|fore)_?name$"),
    ("family", r"^(l|last|family|sur)_?name$|^성씨?$"),
    ("city", r"city|town|district|location|airport|birth_?place|hometown|도시|지역|위치"),
    ("country", r"country|nation|국가|나라|국적"),
    ("street", r"address|street|line_?\d|주소"),
    ("company", r"company|airline|maker|brand|manufactur|publisher|sponsor|supplier|회사|업체|제조"),
    ("title", r"title|song|album|film|movie|book|theme|제목|곡명|영화|도서"),
)
_PEOPLE = re.compile(
    r"person|people|employee|student|teacher|professor|staff|singer|artist|author|actor|player|member|customer|visitor|"
    r"user|patient|doctor|manager|president|leader|owner|driver|coach|judge|director|commander|contestant|friend|"
    r"high_?schooler|사람|직원|학생|교사|교수|가수|작가|배우|선수|회원|고객|사용자|환자|의사|유저|플레이어",
    re.IGNORECASE,
)
_KINDS = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _HOLDS)
_NAME = re.compile(r"name|이름|명$", re.IGNORECASE)


@cache
def words_for(table: str, column: str, korean: bool) -> tuple[str, ...]:
    """25 different words for a text column."""
    kind = next((kind for kind, pattern in _KINDS if pattern.search(column)), None)
    if kind is None and (_NAME.search(column) or column.lower().rstrip("s") == table.lower().rstrip("s")):
        kind = (
            "person"
            if _PEOPLE.search(f"{table} {column}")
            else next((kind for kind, pattern in _KINDS if pattern.search(table)), None)
        )
    elif kind is None and _PEOPLE.search(column):
        kind = "person"
    lists = KOREAN if korean and kind not in ("email", "street") else ENGLISH
    text = lists[kind or "plain"]
    words = text.split(", ") if ", " in text else text.split()
    return tuple(f"{word}@example.com" for word in words) if kind == "email" else tuple(words)
