"""The words that hint at a task, in groups: what a group weighs is fitted, which words belong together is judged.

English first, with a small set for German, French, Spanish and Chinese. ``_`` joins the words of a phrase, and ``*``
ends a stem ("calcul*" is also calculate, calculus, calculer, calcular). Invariant: no entry is in two groups.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Characters of languages that are written without spaces (Chinese, Japanese), for a character class.
UNSPACED = "\u3040-\u30ff\u4e00-\u9fff"
_UNSPACED = re.compile(f"[{UNSPACED}]")

# Nobody but a programmer says these.
_CODE_SURE = """
python java javascript typescript kotlin golang c++ c# f# php sql html css bash powershell haskell fortran cobol vba
perl scala matlab dockerfile docker kubernetes kubectl github gitlab git npm pip cargo django flask fastapi reactjs vue
angular nextjs nodejs pandas numpy scipy matplotlib pytorch tensorflow sklearn regex regexp json yaml toml xml api
apis graphql http postgres postgresql mysql sqlite mongodb redis nginx pytest junit dataframe* localhost stdin
stdout stderr boolean bool ints struct enum tuple* async asynchronous mutex segfault* traceback stacktrace typeerror
keyerror valueerror nullpointerexception refactor* debug* compil* programming coding codebase source_code
code_snippet code_review unit_test unit_tests pull_request merge_conflict linked_list binary_search binary_tree
hash_map hashmap hash_table data_structure data_structures time_complexity command_line stack_overflow null_pointer
recursive recursion recursively subclass constructor backend frontend middleware webhook* endpoint* race_condition
deadlock* concurren* multithread* leetcode fizzbuzz pseudocode shell_script cron makefile cmake gcc clang jvm venv
vscode type_hint type_hints list_comprehension foreign_key primary_key inner_join left_join group_by design_pattern
big_o garbage_collection garbage_collector quicksort mergesort merge_sort bubble_sort heapsort trie memory_leak
event_loop event_handler chrome_extension abstract_class thread_pool in_java in_rust in_ruby in_go in_swift in_r
in_c in_perl in_lua access_control segmentation webpack eslint maven gradle conda jupyter oauth websocket*
microservice* grep sed awk chmod ssh sudo stylesheet off_by_one edge_cases code_base dependency_injection getter
setter iterator node_js js lua ruby_on_rails spring_boot unit_testing web_scraper programmier* quellcode
fehlermeldung zeichenkette code_source código codigo programación programmation programa_en fonction_python
función_en fonction_qui función_que 代码 函数 编程 程序 报错 脚本 算法 数组 循环 变量 编译 调试 接口 数据库 爬虫
正则 递归 链表 单元测试 コード 関数 プログラム
"""

# Programmers say these, and now and then somebody else.
_CODE_LIKELY = """
code function functions method methods variable variables array arrays loop loops pointer pointers string strings
integer integers algorithm* script scripts bug bugs exception* compiler parser parse implement* deploy* rust
swift ruby react debugger repo repository commit rebase branch database queries query schema server client library
framework module import runtime syntax cache callback* thread* app parameter* linux ubuntu terminal snippet software
funktion skript schleife klasse datenbank fonction boucle classe función funcion bucle base_de_datos implementier*
implémente* implementa*
"""

# Common words that a program is also full of.
_CODE_PERHAPS = """
class classes table tables column columns field fields object objects list lists index key keys stack queue tree
node nodes graph test tests file files folder directory input output error errors crash* log logs type types
argument arguments return returns package install* token tokens memory process program programs build run running
website button page fix fixes broken version update datei programm fehler fichier programme erreur archivo programa
liste lista 文件 错误 列表 程序员
"""

_MATH_SURE = """
algebra calculus trigonometr* derivative* integral integrals integrate differentiat* equation* polynomial* quadratic
matrix matrices eigenvalue* eigenvector* determinant theorem* lemma corollary hypotenuse logarithm* cosine factorial
gcd lcm divisib* divisor* quotient numerator denominator pythagor* square_root cube_root prime_number prime_numbers
irrational rational_number standard_deviation variance binomial probabilit* permutation* combinatori* arithmetic
geometric_series parallelogram trapezoid circumference perimeter isosceles equilateral congruen* isomorphi* abelian
vector_space homomorphi* bijecti* injective surjective converge* asymptot* riemann taylor_series fourier parabola
hyperbola modulo coefficient* fraction fractions decimal exponent exponential mathemat* math maths geometry
absolute_value continuous differentiable inequalit* subgroup dot_product cross_product common_difference gleichung*
ableitung bruch wurzel quadratwurzel wahrscheinlichkeit primzahl* umfang flächeninhalt beweise beweis integriere
équation* dérivée intégrale racine démontre* ecuaci* derivada raíz probabilidad* demuestr* perímetro 方程 求解 导数
积分 概率 三角形 证明 矩阵 质数 素数 面积 平方 等于多少 整除 不等式 数列
"""

_MATH_ASKS = """
solve solves solving calculate calculates calculation compute computes simplify evaluate factor factorize factorise
expand prove proof disprove show_that find_the_value find_all solve_for sum_of product_of roots limit limits
converges maximize minimize expected_value extrema in_binary in_decimal rigorous find_x round_to nearest
decimal_places how_many_ways in_terms_of satisfying berechne* vereinfache löse löst calcule calculer calcula
calcular résous résoudre resuelve resolver simplifie simplifica 计算 求 化简
"""

_QUANTITY_ASKS = """
how_many how_much how_far how_fast how_long_will how_long_does how_old altogether in_total what_percentage
what_percent what_fraction total_cost total_number wie_viel wie_viele wieviel wie_lange insgesamt combien au_total
cuánto cuántos cuántas cuanto cuantos en_total 多少 一共 总共 几个
"""

# Trade, time and measures, as word problems have them.
_QUANTITIES = """
percent percentage average remaining each per twice thrice half third dozen cost costs costing discount interest
profit spends spent buys bought sold sells earns saves hour hours minute minutes km kilometers kilometres miles mph
speed distance litres liters gallons kg kilograms grams meters metres feet inches price times ratio rate travels
total prozent jeweils kostet kosten doppelt stunden stunde durchschnitt pourcent coûte chacun heures moitié cuesta
cada por_ciento horas mitad 平均 百分 每 千米 公里 小时 元
"""

_SHAPES = """
rectangle* square squares triangle triangles circle circles cube cubes sphere cylinder cone polygon hexagon radius
diameter area volume angle angles vertices vertex axis slope sides quadrilateral rechteck kreis dreieck* radius_von
rayon cercle rectángulo círculo aire 圆 半径 长方形 正方形
"""

_REASON_SURE = """
puzzle puzzles riddle* logic logical logically deduc* infer infers inference syllogis* premise* fallac* paradox*
knight knights knave* liar liars truth_teller brain_teaser step_by_step chain_of_thought think_carefully
explain_your_reasoning show_your_reasoning reasoning reason_through conclude conclusion conclusions valid_argument
counterexample tells_the_truth tell_the_truth always_lies is_lying must_be_true necessarily_true necessarily
follows_from thought_experiment dilemma game_theory root_cause constraint constraints consistent_with
which_statement odd_one_out think_before think_it_through culprit alibi suspect suspects witness what_comes_next
next_in_the_sequence lateral_thinking rätsel logisch* schlussfolger* schritt_für_schritt knobel* begründe énigme
logique devinette raisonn* étape_par_étape déduire déduis acertijo lógic* logica razona* paso_a_paso 谜题 逻辑 推理
谜语 一步一步 逐步 推断 说谎 真话 猜猜
"""

# Comparisons and places, as puzzles have them.
_RELATIONS = """
taller tallest shorter_than shortest older oldest younger youngest heavier heaviest lighter lightest sits seated sit
row next_to left_of right_of to_the_left to_the_right in_front immediately adjacent between ahead behind
fastest_order what_order which_order cross_the_bridge first_or_last finished finishes opposite sister sisters
brother brothers father uncle grandfather neighbour neighbor älter jünger größer kleiner sitzt neben plus_grand
plus_petit plus_âgé assis mayor_que menor_que sentado más_alto más_bajo bruder schwester frère sœur hermano 比 左边
右边 旁边 之间
"""

# The small words of conditions.
_CONDITIONS = """
if then all every some none neither nor either must cannot only exactly unless therefore implies suppose assume
given everyone nobody true false statement statements possible impossible who_is_the who_owns which_of who_did wenn
dann alle keiner niemand genau si alors tous aucun seulement entonces todos ninguno solamente exactamente 如果 那么
所有 只有 必须 一定
"""

# Weighing and explaining, with a conclusion to reach.
_WEIGHING = """
decide decision strategy weigh consequences consequence implications implication argue argument_for evaluate_the
analyze analyse analysis cause causes justify what_if what_would_happen why_would why_might why_does prioriti*
trade_off trade_offs tradeoff* pros_and_cons feasible feasibility optimal alternatives assumption assumptions
hypothes* evidence find_out_why walk_me_through the_arguments pick_the_best schedule allocate critique compare
hidden_assumption best_explanation abwäg* argumentier* warum entscheid* analysier* pourquoi décid* analyse_les
por_qué decidir analiza 为什么 分析 权衡 决定 利弊
"""

_WRITING = """
poem poems poetry story stories essay email emails e_mail letter blog tweet caption* slogan* speech toast song
lyrics haiku limerick novel chapter dialogue screenplay cover_letter invitation newsletter linkedin headline*
article paragraph product_description advert press_release bio cv resume gedicht geschichte brief aufsatz poème
histoire lettre courriel poema cuento carta correo ensayo 诗 故事 邮件 作文 写信 文章 朋友圈
"""

_TEXT_WORK = """
summar* translat* rewrite rewrites rephras* reword paraphras* proofread* grammar shorten formal polite bullet_points
tone tl_dr tldr key_points main_points synonym* spelling spell wording headline_for zusammenfass* fasse übersetz*
umformulier* korrigier* résum* tradui* reformul* corrige resum* traduc* reescrib* 总结 翻译 改写 润色 摘要 概括
"""

_SMALL_TALK = """
hello hi hey how_are_you good_morning good_night good_evening joke jokes your_name who_are_you bored lonely chat
talk_to_me about_yourself what_s_up nice_to_meet hallo guten_tag guten_morgen wie_geht witz bonjour salut ça_va
blague hola buenos_días cómo_estás chiste 你好 您好 笑话 你是谁 早上好 晚安 聊天
"""

_LIFE = """
recipe* cook cooking dinner lunch breakfast movie movies film films music book books travel trip vacation holiday
holidays weather gift gifts birthday wedding friend friends dog cat pet mother mom mum dad parents girlfriend
boyfriend husband wife kids boss colleague* weekend sport sports football workout exercise sleep diet health doctor
garden* restaurant* hotel city beach feel feeling feelings sad happy love anxious stress* tired interview wine
coffee tea guitar museum hobby apartment rezept urlaub geschenk geburtstag wetter freund* essen reise chef recette
voyage vacances cadeau anniversaire ami amis météo receta viaje vacaciones regalo cumpleaños amigo amigos
tiempo_libre 食谱 旅行 旅游 生日 礼物 朋友 天气 电影 推荐 做饭 老师 工作 心情
"""

_KNOWLEDGE = """
capital history historical king queen president war century country countries empire revolution religion philosophy
culture planet animal animals who_was who_wrote who_invented who_discovered who_painted when_did when_was where_is
where_does tell_me_about what_is_the_capital famous author language languages meaning_of difference_between_a
symptoms vitamin* ocean river mountain moon hauptstadt wer_war wann_wurde capitale qui_était qui_a quand_a quién_fue
cuándo historia 历史 首都 谁是 哪一年 文化 介绍
"""

_ADVICE = """
recommend* suggest* ideas idea tips advice favourite favorite what_should_i should_i give_me_some help_me_with
names_for opinion how_do_i_tell how_can_i_get tipps empfiehl* empfehl* vorschl* ideen conseil* idée idées
recommande* consejo* recomiend* ideas_para 建议 推荐一 想法 主意
"""

_ROLES = """
pretend roleplay role_play act_as imagine_you you_are_a you_are_an persona stell_dir_vor imagine_que imagina 扮演
假装
"""

_PERSONAL = """
i im my me myself we our ich mein meine meinen meiner mir mich wir je j ma mon mes moi nous yo mi mis nosotros 我
我们
"""

GROUPS: Mapping[str, str] = {
    "code_sure": _CODE_SURE,
    "code_likely": _CODE_LIKELY,
    "code_perhaps": _CODE_PERHAPS,
    "math_sure": _MATH_SURE,
    "math_asks": _MATH_ASKS,
    "quantity_asks": _QUANTITY_ASKS,
    "quantities": _QUANTITIES,
    "shapes": _SHAPES,
    "reason_sure": _REASON_SURE,
    "relations": _RELATIONS,
    "conditions": _CONDITIONS,
    "weighing": _WEIGHING,
    "writing": _WRITING,
    "text_work": _TEXT_WORK,
    "small_talk": _SMALL_TALK,
    "life": _LIFE,
    "knowledge": _KNOWLEDGE,
    "advice": _ADVICE,
    "roles": _ROLES,
    "personal": _PERSONAL,
}


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The groups as what a look-up needs; each maps to the group's name.

    ``phrases`` go by their first two words, and have what follows those, longest first. ``unspaced`` are words of
    languages without spaces. ``stems`` are all of a length in ``stem_lengths``, shortest first.
    """

    words: Mapping[str, str]
    phrases: Mapping[tuple[str, str], tuple[tuple[tuple[str, ...], str], ...]]
    stems: Mapping[str, str]
    stem_lengths: tuple[int, ...]
    unspaced: Mapping[str, str]


def build_lexicon(groups: Mapping[str, str] = GROUPS) -> Lexicon:
    words: dict[str, str] = {}
    phrases: dict[tuple[str, str], list[tuple[tuple[str, ...], str]]] = {}
    stems: dict[str, str] = {}
    unspaced: dict[str, str] = {}
    for group, text in groups.items():
        for entry in text.split():
            parts = tuple(entry.split("_"))
            if is_unspaced(entry):
                unspaced[entry] = group
            elif len(parts) > 1:
                phrases.setdefault((parts[0], parts[1]), []).append((parts[2:], group))
            elif entry.endswith("*"):
                stems[entry[:-1]] = group
            else:
                words[entry] = group
    return Lexicon(
        words=words,
        phrases={pair: tuple(sorted(rests, key=lambda each: -len(each[0]))) for pair, rests in phrases.items()},
        stems=stems,
        stem_lengths=tuple(sorted({len(stem) for stem in stems})),
        unspaced=unspaced,
    )


def is_unspaced(text: str) -> bool:
    """Whether ``text`` has a character of a language that is written without spaces."""
    return not text.isascii() and _UNSPACED.search(text) is not None
